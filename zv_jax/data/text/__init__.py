"""Tokenizers, templates, and dialogues as rows of ids.

Training and inference share the one layout that is made here.
"""
