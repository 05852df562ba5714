"""Environments: a factory each, `f(*, settings) -> (Environment, params)`; those of ratings take them first.

The registry is the one place where they have names.
"""

from collections.abc import Callable
from typing import Any

from jaxbandit.envs import bernoulli, cascade, changing, classification, linear, mf, wheel
from jaxbandit.types import Environment

ENVIRONMENTS: dict[str, Callable[..., tuple[Environment, Any]]] = {
    "mf": mf.mf,
    "mf-per-arm": mf.mf_per_arm,
    "linear": linear.linear,
    "linear-per-arm": linear.linear_per_arm,
    "drifting-linear": changing.drifting_linear,
    "piecewise": changing.piecewise,
    "bernoulli": bernoulli.bernoulli,
    "classification": classification.classification,
    "wheel": wheel.wheel,
    "cascade": cascade.cascade,
}
