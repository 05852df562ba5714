"""Inverse gap weighting on linear reward models: SquareCB and FALCON. They need no confidence bounds.

p_a = 1 / (K + c gap_a) with gap_a = max_j f_j - f_a, f_a = x_a'theta and K the number of allowed arms; best arms share
the rest. The agents differ in c.
"""

from collections.abc import Callable
from typing import Annotated

import jax.numpy as jnp
from annotated_types import Ge, Gt, doc
from jaxtyping import Array, Float, Key

from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit.agents import exploration, settings, whole_numbers
from jaxbandit.agents.linear import Model, make_model
from jaxbandit.agents.models.gaussian import Posterior
from jaxbandit.agents.settings import LinearSettings
from jaxbandit.types import Agent, Context, Decision, Spec, Traced

Scale = Annotated[Traced, Gt(0), doc("weight of gaps between predicted rewards; large: little exploration")]


@flat_settings
def squarecb(
    spec: Spec,
    *,
    gap_scale: Scale = 10.0,
    gap_exponent: Annotated[Traced, Ge(0), doc("growth rho of the weight of gaps, n^rho; 0: it is fixed")] = 0.5,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = LinearSettings(),
) -> Agent[Posterior]:
    """Draw arm a with 1 / (K + c gap_a), gap_a = max_j f_j - f_a, f_a = x_a'theta; the best arm takes the rest.

    c = gap_scale n^gap_exponent.
    Source: Foster & Rakhlin 2020, "Beyond UCB: optimal and efficient contextual bandits with regression oracles",
    https://arxiv.org/abs/2002.04926.
    """
    model = make_model(spec, linear, gamma)

    def weight(pulls: Float[Array, ""], num_arms: Float[Array, "#B 1"]) -> Float[Array, "#B 1"]:
        return jnp.broadcast_to(gap_scale * pulls**gap_exponent, num_arms.shape)

    return gap_agent(spec, model, weight)


@flat_settings
def falcon(
    spec: Spec,
    *,
    gap_scale: Scale = 1.0,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = LinearSettings(),
) -> Agent[Posterior]:
    """Draw arm a with 1 / (K + c gap_a) as SquareCB does, c = gap_scale sqrt(K n / P) of P trained weights.

    The model learns after every batch, not in epochs.
    Source: Simchi-Levi & Xu 2021, "Bypassing the monster: a faster and simpler optimal algorithm for contextual bandits
    under realizability", https://arxiv.org/abs/2003.12699.
    """
    model = make_model(spec, linear, gamma)
    num_weights = model.dim * (1 if spec.arm_dim else spec.num_actions)

    def weight(pulls: Float[Array, ""], num_arms: Float[Array, "#B 1"]) -> Float[Array, "#B 1"]:
        return gap_scale * jnp.sqrt(num_arms * pulls / num_weights)

    return gap_agent(spec, model, weight)


def gap_agent(
    spec: Spec, model: Model, weight: Callable[[Float[Array, ""], Float[Array, "#B 1"]], Float[Array, "#B 1"]]
) -> Agent[Posterior]:
    """Weigh gaps by what `weight` makes of the interactions so far and the number of allowed arms."""

    def probabilities(state: Posterior, context: Context) -> Float[Array, "B K"]:
        mean, _ = model.predict(context, model.solve(state))
        num_arms = exploration.num_allowed(context, spec.num_actions)
        return exploration.inverse_gap(context, mean, weight(jnp.sum(state.pulls), num_arms))

    def select(key: Key[Array, ""], state: Posterior, context: Context) -> Decision:
        return Decision(whole_numbers.draw(key, probabilities(state, context)))

    return Agent(
        init=lambda key: model.init(),
        select=select,
        update=lambda key, state, seen: model.update(state, seen),
        probabilities=probabilities,
    )
