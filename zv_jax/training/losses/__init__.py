"""What training learns from a batch, one file for each kind: its loss terms and their FLOPs.

Each of these files registers its kind in `kind.LOSSES`. `zv_jax.data.pipeline.batches` makes the
batches; `zv_jax.objectives` has the losses as functions of arrays.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
