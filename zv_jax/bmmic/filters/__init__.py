"""The rule-based detector (the paper, section 3.1): twelve filters, each a class that says why.

A filter reads a pair and its view; none asks a model or a server, and none changes a pair.
"""
