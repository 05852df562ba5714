"""Functions that meet all lanes of a `vmap` at once, in one axis. It knows nothing of what they compute."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

Function = Callable[..., Array]


def all_at_once(function: Function) -> Function:
    """Make `function`, of arrays [n, ...] row by row, lay the axes that `vmap` adds flat into its n rows."""
    whole = jax.custom_batching.custom_vmap(function)

    @whole.def_vmap
    def flat(size: int, batched: list[bool], *arguments: Array) -> tuple[Array, bool]:
        full = [x if own else jnp.broadcast_to(x, (size, *x.shape)) for x, own in zip(arguments, batched, strict=True)]
        done = whole(*(x.reshape(-1, *x.shape[2:]) for x in full))
        return done.reshape(size, -1, *done.shape[1:]), True

    return whole
