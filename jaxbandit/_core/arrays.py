"""Host numbers -> arrays of JAX. It computes nothing."""

import jax
import numpy as np
from jaxtyping import Array, Float


def floats(values: float | tuple[float, ...] | np.ndarray | Array) -> Float[Array, "..."]:
    """Place numbers on the device as float32; `jnp.asarray` would compile a program for that."""
    return jax.device_put(np.asarray(values, np.float32))
