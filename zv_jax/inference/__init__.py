"""Using trained models: decoding, the Python interface `load`, conversations.

Nothing here trains, reads a data set or scores an answer.
"""
