"""Environments: a factory each, `f(*, settings) -> (Environment, params)`; those of ratings take them first.

The registry is the one place where they have names.
"""

from collections.abc import Callable
from typing import Any

from jaxbandit.envs import bernoulli, cascade, classification, drifting, linear, wheel
from jaxbandit.envs.matrix_factorization import worlds
from jaxbandit.types import Environment

ENVIRONMENTS: dict[str, Callable[..., tuple[Environment, Any]]] = {
    "mf": worlds.mf,
    "mf-per-arm": worlds.mf_per_arm,
    "linear": linear.linear,
    "linear-per-arm": linear.linear_per_arm,
    "drifting-linear": drifting.drifting_linear,
    "piecewise": drifting.piecewise,
    "bernoulli": bernoulli.bernoulli,
    "classification": classification.classification,
    "wheel": wheel.wheel,
    "cascade": cascade.cascade,
}
