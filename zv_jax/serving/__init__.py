"""`zv serve`: a model behind HTTP, in OpenAI's protocol.

Requests are checked, turned into jobs for the engine, and its events into replies. Nothing here
computes a token, trains, or reads a data set.
"""
