"""Language models behind an endpoint that speaks OpenAI's protocol: one client for all who ask.

Requests and replies, connections, limits, prices, the ledger and batch files. What is asked, a
judge's prompts or those that make data, belongs to whoever asks.
"""
