"""`zv tokenizer`: vocabularies with more Chinese, and tokenizers in the files of Hugging Face.

One module for each subcommand; no work is done here.
"""

USAGE = """
usage: zv tokenizer union  VOCAB OUT  [--characters=...]   a BERT vocabulary for the Q-Former
       zv tokenizer extend MODEL OUT  [--characters=...] [--pieces=FILE]
                                                           a LLaMA SentencePiece model for the LLM
       zv tokenizer grow   CKPT  OUT  [--tokenizer=DIR] [--qformer_tokenizer=DIR]
                                                           embeddings for larger vocabularies
       zv tokenizer to-hf  TOKENIZER OUT [--qformer]       tokenizer.json, tokenizer_config.json
"""
SUBCOMMANDS = ("union", "extend", "grow", "to-hf")
