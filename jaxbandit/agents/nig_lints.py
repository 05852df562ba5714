"""Thompson sampling from linear posteriors that learn the noise of rewards too."""

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
    served: Int[Array, ""]  # users so far, until none is served in turn any more


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
    """Take argmax_a x'beta~, sigma^2~ ~ InvGamma(a, b), beta~ ~ N(mu, sigma^2~ Lambda^-1), one draw per user.

    A constant 1 is appended to the user part. Defaults and the round robin of `initial_pulls` are those of the source.
    Source: Riquelme et al. 2018, "linear full posterior sampling".
    """
    if spec.arm_dim:
        return _shared(spec, a0, b0, tikhonov_weight, features, ties)
    return _disjoint(spec, a0, b0, tikhonov_weight, initial_pulls, ties)


def in_turn(
    context: Context, scores: Float[Array, "B K"], served: Int[Array, ""], initial_pulls: int
) -> Float[Array, "B K"]:
    """Replace the scores of the first K * initial_pulls users by a round robin over allowed arms."""
    num_actions = scores.shape[1]
    number = served + jnp.arange(scores.shape[0], dtype=jnp.int32)
    wait = (jnp.arange(num_actions, dtype=jnp.int32)[None] - number[:, None]) % num_actions
    turns = jnp.where((number < num_actions * initial_pulls)[:, None], -wait.astype(scores.dtype), scores)
    return exploration.allowed(context, turns)


def served(spec: Spec, before: Int[Array, ""], seen: Interaction, initial_pulls: int) -> Int[Array, ""]:
    """Count the users that `in_turn` asks for, and no further: there are integers beyond which counts turn negative."""
    return jnp.minimum(before + seen.action.shape[0], spec.num_actions * initial_pulls)


def _disjoint(
    spec: Spec, a0: Traced, b0: Traced, ridge: Traced, initial_pulls: int, ties: exploration.Ties
) -> Agent[State]:
    def init(key: Key[Array, ""]) -> State:
        return State(normal_inverse_gamma.init(spec.user_dim + 1, spec.num_actions, ridge), jnp.zeros((), jnp.int32))

    def select(key: Key[Array, ""], state: State, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        scores = normal_inverse_gamma.sample_scores(draw_key, state.posterior, features.with_bias(context.user), a0, b0)
        return Decision(exploration.greedy(tie_key, in_turn(context, scores, state.served, initial_pulls), ties))

    def update(key: Key[Array, ""], state: State, seen: Interaction) -> State:
        user = features.with_bias(seen.context.user)
        learned = normal_inverse_gamma.update(state.posterior, seen.action, user, seen.reward, seen.weight, ridge)
        return State(learned, served(spec, state.served, seen, initial_pulls))

    return Agent(init, select, update)


def _shared(
    spec: Spec, a0: Traced, b0: Traced, ridge: Traced, kind: features.Features, ties: exploration.Ties
) -> Agent[NIG]:
    def select(key: Key[Array, ""], state: NIG, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        beta = normal_inverse_gamma.sample_parameters(draw_key, state, a0, b0, context.user.shape[0])
        scores = features.linear(kind, True, context, beta)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, scores), ties))

    def update(key: Key[Array, ""], state: NIG, seen: Interaction) -> NIG:
        joint = features.joint(kind, True, seen.context.user, chosen_arms(seen.context, seen.action))
        return normal_inverse_gamma.update(state, jnp.zeros_like(seen.action), joint, seen.reward, seen.weight, ridge)

    dim = features.dim(kind, spec, True)
    return Agent(lambda key: normal_inverse_gamma.init(dim, 1, ridge), select, update)
