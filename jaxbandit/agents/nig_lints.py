"""Thompson sampling from linear posteriors that learn the noise of rewards too. They forget nothing."""

from typing import Annotated, NamedTuple

import jax.numpy as jnp
from annotated_types import Ge, Gt, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import features, normal_inverse_gamma
from jaxbandit.agents.models.normal_inverse_gamma import NIG
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, chosen_arms

A0 = Annotated[Traced, Gt(0), doc("shape of the inverse gamma prior of the noise variance")]
B0 = Annotated[Traced, Gt(0), doc("scale of the inverse gamma prior of the noise variance")]
InitialPulls = Annotated[int, Ge(0), doc("pulls of each fixed arm, in turn, before the posteriors decide")]


class State(NamedTuple):
    """What a NIG agent learns."""

    posterior: NIG
    served: Int[Array, ""]  # users so far, at most as many as the round robin serves


def nig_lints(
    spec: Spec,
    *,
    a0: A0 = 6.0,
    b0: B0 = 6.0,
    tikhonov_weight: settings.TikhonovWeight = 0.25,
    features: settings.Features = "concat",
    initial_pulls: InitialPulls = 2,
    ties: settings.Ties = "random",
) -> Agent[State] | Agent[NIG]:
    """Take argmax_a x_a'theta~, theta~ ~ N(theta, sigma^2~ M^-1), sigma^2~ ~ InvGamma(c, d), one draw per user.

    c = a0 + sum w / 2, d = b0 + (sum w r^2 - theta' M theta) / 2. A constant 1 is appended to the user part.
    Defaults and the round robin of `initial_pulls` are those of the source.
    Source: Riquelme, Tucker & Snoek 2018, "Deep Bayesian bandits showdown", linear full posterior sampling,
    https://arxiv.org/abs/1802.09127.
    """
    if spec.arm_dim:
        return _shared(spec, a0, b0, tikhonov_weight, features, ties)
    return _disjoint(spec, a0, b0, tikhonov_weight, initial_pulls, ties)


def round_robin(
    context: Context, scores: Float[Array, "B K"], served: Int[Array, ""], initial_pulls: int
) -> Float[Array, "B K"]:
    """Replace the scores of the first K * initial_pulls users by a round robin over allowed arms."""
    num_actions = scores.shape[1]
    number = served + jnp.arange(scores.shape[0], dtype=jnp.int32)
    wait = (jnp.arange(num_actions, dtype=jnp.int32)[None] - number[:, None]) % num_actions
    turns = jnp.where((number < num_actions * initial_pulls)[:, None], -wait.astype(scores.dtype), scores)
    return exploration.allowed(context, turns)


def count_served(spec: Spec, before: Int[Array, ""], seen: Interaction, initial_pulls: int) -> Int[Array, ""]:
    """Count users as far as `round_robin` asks for them, so that the integer cannot overflow."""
    return jnp.minimum(before + seen.action.shape[0], spec.num_actions * initial_pulls)


def _disjoint(
    spec: Spec, a0: Traced, b0: Traced, ridge: Traced, initial_pulls: int, ties: exploration.Ties
) -> Agent[State]:
    def init(key: Key[Array, ""]) -> State:
        return State(normal_inverse_gamma.init(spec.user_dim + 1, spec.num_actions, ridge), jnp.zeros((), jnp.int32))

    def select(key: Key[Array, ""], state: State, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        scores = normal_inverse_gamma.sample_scores(draw_key, state.posterior, features.with_bias(context.user), a0, b0)
        return Decision(exploration.greedy(tie_key, round_robin(context, scores, state.served, initial_pulls), ties))

    def update(key: Key[Array, ""], state: State, seen: Interaction) -> State:
        user = features.with_bias(seen.context.user)
        learned = normal_inverse_gamma.update(state.posterior, seen.action, user, seen.reward, seen.weight, ridge)
        return State(learned, count_served(spec, state.served, seen, initial_pulls))

    return Agent(init, select, update)


def _shared(
    spec: Spec, a0: Traced, b0: Traced, ridge: Traced, kind: features.Features, ties: exploration.Ties
) -> Agent[NIG]:
    def select(key: Key[Array, ""], state: NIG, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        theta = normal_inverse_gamma.sample_parameters(draw_key, state, a0, b0, context.user.shape[0])
        scores = features.linear(kind, True, context, theta)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, scores), ties))

    def update(key: Key[Array, ""], state: NIG, seen: Interaction) -> NIG:
        joint = features.joint(kind, True, seen.context.user, chosen_arms(seen.context, seen.action))
        return normal_inverse_gamma.update(state, jnp.zeros_like(seen.action), joint, seen.reward, seen.weight, ridge)

    dim = features.dim(kind, spec, True)
    return Agent(lambda key: normal_inverse_gamma.init(dim, 1, ridge), select, update)
