"""Public benchmarks: each one file with its split, prompt, decoding and metric; the paper's tables.

Scores of a model or of anybody's predictions; the quickstart's own tasks are in `tasks/`."""
