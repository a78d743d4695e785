"""`zv data`: find, read, prepare, look at, count, check and guard data.

One module for each subcommand; no work is done here.
"""

USAGE = """
usage: zv data list     [NAME]                all data sets that can be read, or the card of one
       zv data convert  NAME --root=DIR       write the records of a data set to a .jsonl file
       zv data split    FILE --out=DIR        cut records into train, val and test, by image
       zv data prepare  NAME --root=DIR       write records and pictures to shards for training
       zv data filter   NAME --root=DIR       clean web pairs: rules, duplicates, CLIP score
       zv data stats    NAME --root=DIR       count a copy, beside what was published
       zv data guard    NAME=DIR ...          list pictures of evaluations, to keep them out
       zv data validate FILE ...              check every line of record files
       zv data peek     [NAME | FILE]         show samples as the model gets them, as a page
       zv data schema                         print the record as JSON Schema
       zv data styles --packages=... --out=DIR   test scenes in other drawing styles

NAME is one of `zv data list`, or zv_openmoji, the embedded data set, which needs no --root.
FILE holds records, one JSON object per line; prepare, filter and stats take one in place of NAME.
"""
SUBCOMMANDS = (
    "list",
    "convert",
    "split",
    "prepare",
    "filter",
    "stats",
    "guard",
    "validate",
    "peek",
    "schema",
    "styles",
)
