"""How a batch is made, one file a kind: which samples a source gives, a sample's row, the batch.

Every file of this folder registers its kind in `kind.KINDS`. What is learned from a batch is in
`zv_jax.training.losses`, the shapes of its arrays in `zv_jax.stages`.
"""

import importlib
import pkgutil

for _file in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_file.name}")
