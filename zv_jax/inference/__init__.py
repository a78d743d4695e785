"""Using trained models: decoding, `from_pretrained`, conversations.

Nothing here trains, reads a data set or scores an answer.
"""
