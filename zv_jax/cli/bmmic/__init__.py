"""`zv bmmic`: bilingual instruction data, step by step.

One module for each subcommand; no work is done here.
"""

USAGE = """
usage: zv bmmic symbols   --config FILE --workdir DIR   captions and boxes of annotated images
       zv bmmic generate  --config FILE --workdir DIR   new pairs, written by a language model
       zv bmmic rewrite   --config FILE --workdir DIR   other forms of them, by four schemes
       zv bmmic translate --config FILE --workdir DIR   records of other sets, translated
       zv bmmic filter    --config FILE --workdir DIR   the rule-based detector over all of it
       zv bmmic export    --config FILE --workdir DIR   records, LLaVA JSON, shards and more
       zv bmmic audit     --config FILE --workdir DIR   a page to accept or reject pairs by hand
       zv bmmic run       --config FILE --workdir DIR   all of these
       zv bmmic receipt   LEDGER ...                     what was asked, answered and paid

The language model is any server with OpenAI's protocol: ZV_BMMIC_URL, ZV_BMMIC_MODEL, ZV_BMMIC_KEY.
Every step goes on where it was; what was answered is in the ledger of the workdir and is never paid
twice.
"""
SUBCOMMANDS = (
    *("symbols", "generate", "rewrite", "translate", "filter", "export", "audit", "run"),
    "receipt",
)
