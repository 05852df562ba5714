"""Contextual-bandit simulation in one compiled JAX program.

`run(Config(agent="lints"), "runs/lints")` is `jaxbandit run`, `sweep` is `jaxbandit sweep`; `load_policy(path)` reads a
trained agent that `jaxbandit export` wrote. Own agents and environments speak the interface of `jaxbandit.types`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxbandit.experiments.config import Config
    from jaxbandit.experiments.run import run
    from jaxbandit.experiments.sweep import sweep
    from jaxbandit.experiments.sweep_config import SweepConfig, make_sweep_config
    from jaxbandit.policies.load import Policy, load_policy

__all__ = ["Config", "Policy", "SweepConfig", "load_policy", "make_sweep_config", "run", "sweep"]

_HOMES = {
    "Config": "experiments.config",
    "SweepConfig": "experiments.sweep_config",
    "Policy": "policies.load",
    "load_policy": "policies.load",
    "make_sweep_config": "experiments.sweep_config",
    "run": "experiments.run",
    "sweep": "experiments.sweep",
}


def __getattr__(name: str) -> Any:
    """Import a name when somebody asks for it: the command line shows its help without JAX."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"jaxbandit.{_HOMES[name]}"), name)
