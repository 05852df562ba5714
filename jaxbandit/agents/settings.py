"""Hyperparameters that several agents share: their kinds, bounds and words, once. No agent is made here."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

from annotated_types import Ge, Gt, Interval, Le, doc
from jaxtyping import Array, Int

from jaxbandit._core.errors import InputError
from jaxbandit.agents import exploration
from jaxbandit.agents.models import features
from jaxbandit.types import Spec, Traced

Scheduled: TypeAlias = Traced | Callable[[Any], Any]  # a float, or an optax schedule of the update count

Alpha = Annotated[Traced, Ge(0), doc("width of exploration, in posterior standard deviations")]
Gamma = Annotated[Traced, Gt(0), Le(1), doc("forgetting factor of each update; 1 forgets nothing")]
TikhonovWeight = Annotated[Traced, Gt(0), doc("ridge, added when solving and so never forgotten")]
AddBias = Annotated[bool, doc("append a constant 1 to the user part")]
Features = Annotated[features.Features, doc("joint features of a shared model (per-arm environments)")]
Ties = Annotated[exploration.Ties, doc("how equal scores are broken")]
Epsilon = Annotated[Scheduled, Interval(ge=0, le=1), doc("probability of a uniform allowed arm")]
Temperature = Annotated[Scheduled, Gt(0), doc("temperature of the softmax over predicted rewards")]
LearningRate = Annotated[Scheduled, Gt(0), doc("step size of Adam")]


def at_count(value: Scheduled, count: Int[Array, ""]) -> Traced:
    """Value of a hyperparameter that may be a schedule of the update count."""
    return value(count) if callable(value) else value


def require_fixed_arms(spec: Spec, agent: str) -> None:
    """Raise an InputError where arms have features: arm k is another one in every round there."""
    if spec.arm_dim:
        raise InputError(f"agent is {agent!r}, but arms of this environment have features; allowed: fixed arms")
