"""`zv convert`: weights of others in, weights for others out, and a comparison of both.

One module for each subcommand; no work is done here.
"""

USAGE = """
usage: zv convert from-hf    SRC DST    a directory of transformers becomes a workdir of ours
       zv convert from-lavis SRC DST    a checkpoint file of LAVIS becomes one
       zv convert from-gguf  SRC DST    a LLaMA in the format of llama.cpp becomes one
       zv convert from-peft  SRC DST    an adapter on --base becomes one
       zv convert to-hf      CKPT OUT   a checkpoint of ours becomes a directory of transformers
       zv convert to-lavis   CKPT OUT   or a .pth file without its language model
       zv convert to-peft    CKPT OUT   its adapters alone, as PEFT stores them
       zv convert verify     A B        do two checkpoints, each in any form, compute the same?
"""
SUBCOMMANDS = (
    "from-hf",
    "from-lavis",
    "from-gguf",
    "from-peft",
    "to-hf",
    "to-lavis",
    "to-peft",
    "verify",
)
