"""Products of arrays in float32 at full precision: TF32 and bfloat16, the defaults of GPU and TPU, ruin a solve."""

from functools import partial

import jax
import jax.numpy as jnp

einsum = partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
