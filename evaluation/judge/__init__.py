"""A language model as the judge of answers: LLaVA-bench in English and Chinese.

Requests, reviews and their scores; the client and its ledger are those of `zv_jax.llm`."""
