"""Contextual-bandit simulation in one compiled JAX program. Import what you use from the modules.

`jaxbandit.load_policy(path)` reads a trained agent that `jaxbandit export` wrote: a `jaxbandit.Policy`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbandit.policies.load import Policy, load_policy

__all__ = ["Policy", "load_policy"]


def __getattr__(name: str) -> Any:
    """Import JAX no sooner than somebody asks for a policy: the command line shows its help without it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jaxbandit.policies import load

    return getattr(load, name)
