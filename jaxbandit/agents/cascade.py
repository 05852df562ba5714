"""Agents that rank a slate and learn from cascades: users look at arms from the top until one attracts a click.

x_a'theta is a linear model of whether arm a attracts; it learns from the arms up to the click and from no others. Two
rules turn scores into slates; neither knows the position of an arm.
"""

from collections.abc import Callable
from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Gt, doc
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.linear import Model, make_model
from jaxbandit.agents.models.gaussian import Posterior
from jaxbandit.agents.settings import LinearSettings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, chosen_arms

Scores = Float[Array, "B K"]
CASCADE = LinearSettings(add_bias=True, features="outer")


@flat_settings
def cascade_linucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = CASCADE,
) -> Agent[Posterior]:
    """Rank the slate by x_a'theta + alpha sqrt(x_a' M^-1 x_a), best arm first; equal scores in random order.

    Source: Zong, Ni, Sung, Ke, Wen & Kveton 2016, "Cascading bandits for large-scale recommendation problems",
    CascadeLinUCB, https://arxiv.org/abs/1603.05359.
    """

    def slate(key: Key[Array, ""], mean: Scores, variance: Scores, context: Context) -> Int[Array, "B M"]:
        return top(key, exploration.upper_bounds(context, mean, variance, alpha), spec.slate_size)

    return slate_agent(spec, make_model(spec, linear, gamma), slate)


@flat_settings
def cascade_plackett_luce(
    spec: Spec,
    *,
    temperature: Annotated[Traced, Gt(0), doc("temperature of the softmax from which arms are drawn in turn")] = 0.1,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = CASCADE,
) -> Agent[Posterior]:
    """Draw the slate arm by arm, without replacement, with probability softmax_a(x_a'theta / temperature).

    Sources: Plackett 1975, "The analysis of permutations", https://doi.org/10.2307/2346567; Kool, van Hoof & Welling
    2019, "Stochastic beams and where to find them" (the draw by Gumbel top-k), https://arxiv.org/abs/1903.06059.
    """

    def slate(key: Key[Array, ""], mean: Scores, variance: Scores, context: Context) -> Int[Array, "B M"]:
        return plackett_luce(key, exploration.allowed(context, mean / temperature), spec.slate_size)

    return slate_agent(spec, make_model(spec, linear, gamma), slate)


def top(key: Key[Array, ""], scores: Scores, size: int) -> Int[Array, "B M"]:
    """Arms of the highest scores, best first; equal scores in random order."""
    arm = jnp.broadcast_to(jnp.arange(scores.shape[1], dtype=jnp.int32)[None], scores.shape)
    return jax.lax.sort((-scores, prng.bits(key, scores.shape), arm), dimension=1, num_keys=2)[2][:, :size]


def plackett_luce(key: Key[Array, ""], scores: Scores, size: int) -> Int[Array, "B M"]:
    """Draw distinct arms one after another with probability softmax(scores of those that are left), as Gumbel top-k."""
    return jax.lax.top_k(scores + jax.random.gumbel(key, scores.shape), size)[1]


def examined(reward: Float[Array, "B M"]) -> Bool[Array, "B M"]:
    """Positions up to the click; all of them where there is none."""
    clicked = (reward > 0).astype(jnp.int32)
    return jnp.cumsum(clicked, axis=1) - clicked == 0


def slate_agent(
    spec: Spec, model: Model, slate: Callable[[Key[Array, ""], Scores, Scores, Context], Int[Array, "B M"]]
) -> Agent[Posterior]:
    """Rank by the posterior solved once per round; update it once with all examined positions."""
    if spec.slate_size == 1:
        raise InputError("slate_size is 1: this agent ranks slates; allowed: an env that shows some, as cascade")

    def select(key: Key[Array, ""], state: Posterior, context: Context) -> Decision:
        mean, variance = model.predict(context, model.solve(state))
        return Decision(slate(key, mean, variance, context))

    return Agent(
        init=lambda key: model.init(),
        select=select,
        update=lambda key, state, interaction: model.update(state, _positions(spec, interaction)),
        slates=True,
    )


def _positions(spec: Spec, seen: Interaction) -> Interaction:
    """Turn B slates of M arms into B M single arms; those that were not examined have weight 0."""
    size = spec.slate_size
    user, user_id = (jnp.repeat(x, size, axis=0) for x in (seen.context.user, seen.context.user_id))
    weight = seen.weight[:, None] * examined(seen.reward).astype(seen.weight.dtype)
    action, arms = seen.action.reshape(-1), None
    if spec.arm_dim > 0:
        chosen = jax.vmap(chosen_arms, in_axes=(None, 1), out_axes=1)(seen.context, seen.action)
        action, arms = jnp.zeros_like(action), chosen.reshape(-1, 1, spec.arm_dim)
    context = Context(user=user, user_id=user_id, arms=arms)
    return Interaction(context, action, seen.reward.reshape(-1), weight.reshape(-1), seen.round)
