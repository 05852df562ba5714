"""Products of arrays at full float32 precision: TF32 and bfloat16, the defaults of GPU and TPU, ruin a solve.

It solves nothing itself.
"""

from functools import partial

import jax
import jax.numpy as jnp

einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
