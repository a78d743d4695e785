"""`zv bmmic`: bilingual instruction data, made by a language model.

One module for each subcommand; no work is done here.
"""

USAGE = """
usage: zv bmmic receipt LEDGER ...    what was asked, answered and paid, every line verified

LEDGER is a ledger.jsonl, or the folder that it is in.
"""
SUBCOMMANDS = ("receipt",)
