"""One place where the platform chooses the code: a function may have a way of its own for TPUs or for CUDA.

Callers of such a function do not know. Every way is held equal to the default one by a test. What is traced is only
what will be compiled: `compiling_for` tells for which platforms, where they are not those of this process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
NAMES = {"gpu": "cuda"}  # what JAX calls devices -> what it calls platforms of a program
_targets: ContextVar[tuple[str, ...]] = ContextVar("targets")


@contextmanager
def compiling_for(*platforms: str) -> Iterator[None]:
    """Trace for these platforms, as `jax.Device.platform` names them, and not for that of this process."""
    token = _targets.set(tuple(sorted({NAMES.get(platform, platform) for platform in platforms})))
    try:
        yield
    finally:
        _targets.reset(token)


def choose(
    default: Callable[Arguments, Result],
    *,
    tpu: Callable[Arguments, Result] | None = None,
    cuda: Callable[Arguments, Result] | None = None,
) -> Callable[Arguments, Result]:
    """Return the function that serves the platform being compiled for: that of its name, else the default one."""
    own = {name: way for name, way in (("tpu", tpu), ("cuda", cuda)) if way is not None}
    targets = _targets.get((NAMES.get(jax.default_backend(), jax.default_backend()),))
    ways = {own.get(target, default) for target in targets}
    if len(ways) == 1:
        return ways.pop()

    def chosen_when_lowered(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        assert not kwargs, "arguments of platform-dependent functions are positional"
        return jax.lax.platform_dependent(*args, default=default, **own)

    return chosen_when_lowered
