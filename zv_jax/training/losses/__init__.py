"""What is learned from a batch, one file a kind: the terms of its loss and what computes them.

Every file of this folder that is a kind of batch registers it in `kind.LOSSES`. How its batches are
made is in `zv_jax.data.pipeline.batches`, the losses as functions of arrays in `zv_jax.objectives`.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
