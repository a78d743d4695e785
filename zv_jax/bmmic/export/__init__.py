"""The finished set: records of ours, and what other programs read; a card with what is in it.

Pairs become records here; nothing is judged or asked any more.
"""
