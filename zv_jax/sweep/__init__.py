"""Many runs of one recipe with other numbers: `points` says which, `launchers` where, `run` when.

A run is a plain `zv train` in a workdir of its own, so whatever stops, resumes or reports a run
works here too. Nothing of a model is known here.
"""
