"""Bilingual instruction data (the paper, section 3.1): views, prompts, steps, filters, export.

Every step reads shards of JSON lines and writes shards; nothing here knows a model of ours.
"""
