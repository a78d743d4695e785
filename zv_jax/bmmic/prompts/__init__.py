"""What the language model is told: versioned packs, the 50 examples, and how a request is made.

No request is sent from here; whoever holds a client does that.
"""
