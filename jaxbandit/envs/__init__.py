"""Environments: a factory each, and the registry, the one place where they have names.

How ratings and labelled rows are read and factorised lives in `data`; nothing here knows an agent.
"""

from jaxbandit.envs import bernoulli, cascade, classification, drifting, linear, wheel
from jaxbandit.envs.matrix_factorization import worlds
from jaxbandit.types import EnvironmentFactory

ENVIRONMENTS: dict[str, EnvironmentFactory] = {
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
