"""Before a machine is rented: does the step fit there, how fast is it, what does the run cost.

`activations` is arithmetic on shapes, `compiled` compiles the real step for a machine that need not
exist here, `hlo` reads what the compiler made of it, `report` tells people. `fit` looks for
settings of a recipe: `search` chooses what is tried, `candidates` compiles it and `timed` runs it,
both in processes of their own (`processes`); `proposal` tells people. No file is trained on.
"""
