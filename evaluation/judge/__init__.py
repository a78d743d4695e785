"""A language model as the judge of answers: LLaVA-bench in English and Chinese.

Requests, transcripts and their scores; the connection itself is `zv_jax.llm.client`."""
