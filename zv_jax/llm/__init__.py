"""Language models behind an endpoint that speaks OpenAI's protocol.

What is asked of them, a judge's prompts or those that make data, belongs to whoever asks.
"""
