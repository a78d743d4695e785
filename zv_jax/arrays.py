"""Arrays in annotations: functions of jax take those of numpy too."""

import jax
import numpy as np
from jaxtyping import Shaped

Array = jax.Array | np.ndarray
Scalar = Shaped[Array, ""] | float
"""One number. An argument of a compiled program: another value compiles nothing."""
