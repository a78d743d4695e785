"""Tasks, one file each: which records, which prompt, how long an answer, which metrics.

A task knows neither the model nor where records and results are kept."""
