"""Linear agents: LinUCB, LinTS, LinGreedy; one model per arm where arms are fixed, one shared model otherwise."""

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, chosen_arms


class Model(NamedTuple):
    """A linear reward model of a fixed shape, as pure functions of a solved posterior."""

    dim: int
    init: Callable[[], Posterior]
    predict: Callable[[Context, Solution], tuple[Float[Array, "B K"], Float[Array, "B K"]]]  # mean, variance
    perturb: Callable[[Context, Solution, Float[Array, "B *K d"]], Float[Array, "B K"]]  # x'L'^-1 z
    update: Callable[[Posterior, Interaction], Posterior]


def linucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    gamma: settings.Gamma = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    ties: settings.Ties = "random",
) -> Agent[Posterior]:
    """Take argmax_a x'theta + alpha sqrt(x' M^-1 x).

    Source: Li et al. 2010, Algorithm 1 (disjoint); Chu et al. 2011 (shared).
    """

    def scores(context: Context, model: Model, solution: Solution) -> Float[Array, "B K"]:
        mean, variance = model.predict(context, solution)
        return exploration.upper_bounds(context, mean, variance, alpha)

    def choose(key: Key[Array, ""], context: Context, model: Model, solution: Solution) -> Int[Array, " B"]:
        return exploration.greedy(key, scores(context, model, solution), ties)

    def chances(context: Context, model: Model, solution: Solution) -> Float[Array, "B K"]:
        return exploration.greedy_probabilities(scores(context, model, solution), ties)

    return _agent(make_model(spec, features, add_bias, gamma), tikhonov_weight, choose, chances)


def lints(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    gamma: settings.Gamma = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    sampling: Annotated[
        Literal["theta", "arm"], doc("draw parameters once per user, or each arm's score on its own as TF-Agents does")
    ] = "theta",
    ties: settings.Ties = "random",
) -> Agent[Posterior]:
    """Take argmax_a x'theta~, theta~ = theta + alpha L'^-1 z, one draw per user (and model).

    `sampling="arm"` draws each score from N(x'theta, (alpha s)^2) instead, which over-explores with a shared model.
    Source: Agrawal & Goyal 2013.
    """

    def choose(key: Key[Array, ""], context: Context, model: Model, solution: Solution) -> Int[Array, " B"]:
        noise_key, tie_key = prng.split(key)
        mean, variance = model.predict(context, solution)
        if sampling == "arm":
            deviation = jnp.sqrt(variance) * jax.random.normal(noise_key, mean.shape)
        else:
            models = solution.mean.shape[:-1]
            noise = jax.random.normal(noise_key, (mean.shape[0], *models, model.dim))
            deviation = model.perturb(context, solution, noise)
        return exploration.greedy(tie_key, exploration.allowed(context, mean + alpha * deviation), ties)

    return _agent(make_model(spec, features, add_bias, gamma), tikhonov_weight, choose)


def greedy(
    spec: Spec,
    *,
    epsilon: settings.Epsilon = 0.1,
    gamma: settings.Gamma = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    ties: settings.Ties = "random",
) -> Agent[tuple[Posterior, Array]]:
    """Take argmax_a x'theta, and with probability epsilon a uniform allowed arm (LinGreedy)."""
    model = make_model(spec, features, add_bias, gamma)

    def select(key: Key[Array, ""], state: tuple[Posterior, Array], context: Context) -> Decision:
        mean, _ = model.predict(context, gaussian.solve(state[0], tikhonov_weight))
        probability = settings.at_count(epsilon, state[1])
        return Decision(exploration.epsilon_greedy(key, context, mean, probability, ties))

    def probabilities(state: tuple[Posterior, Array], context: Context) -> Float[Array, "B K"]:
        mean, _ = model.predict(context, gaussian.solve(state[0], tikhonov_weight))
        return exploration.epsilon_greedy_probabilities(context, mean, settings.at_count(epsilon, state[1]), ties)

    return Agent(
        init=lambda key: (model.init(), jnp.zeros((), jnp.int32)),
        select=select,
        update=lambda key, state, interaction: (model.update(state[0], interaction), state[1] + 1),
        probabilities=probabilities,
    )


def make_model(spec: Spec, features: features.Features, add_bias: bool, gamma: Float[Array, ""] | float) -> Model:
    """Make the disjoint model where arms are fixed, the shared one where they have features."""
    return _disjoint(spec, add_bias, gamma) if spec.arm_dim == 0 else _shared(spec, features, add_bias, gamma)


def _agent(
    model: Model,
    tikhonov_weight: Float[Array, ""] | float,
    choose: Callable[..., Array],
    chances: Callable[..., Array] | None = None,
) -> Agent[Posterior]:
    """Act on the posterior solved once per round; update it once with the whole batch."""

    def select(key: Key[Array, ""], state: Posterior, context: Context) -> Decision:
        return Decision(choose(key, context, model, gaussian.solve(state, tikhonov_weight)))

    def probabilities(state: Posterior, context: Context) -> Float[Array, "B K"]:
        assert chances is not None
        return chances(context, model, gaussian.solve(state, tikhonov_weight))

    return Agent(
        init=lambda key: model.init(),
        select=select,
        update=lambda key, state, interaction: model.update(state, interaction),
        probabilities=probabilities if chances else None,
    )


def _disjoint(spec: Spec, add_bias: bool, gamma: Float[Array, ""] | float) -> Model:
    dim = features.dim("concat", spec, add_bias)

    def predict(context: Context, solution: Solution) -> tuple[Array, Array]:
        user = features.with_bias(context.user, add_bias)
        white = einsum("bd,ked->bke", user, solution.whitener)
        return einsum("bd,kd->bk", user, solution.mean), jnp.sum(white * white, axis=-1)

    def perturb(context: Context, solution: Solution, noise: Array) -> Array:
        user = features.with_bias(context.user, add_bias)
        return jnp.sum(einsum("bd,ked->bke", user, solution.whitener) * noise, axis=-1)

    def update(state: Posterior, seen: Interaction) -> Posterior:
        user = features.with_bias(seen.context.user, add_bias)
        one_hot = jax.nn.one_hot(seen.action, spec.num_actions)
        return gaussian.update_each(state, one_hot, user, seen.reward, seen.weight, gamma)

    return Model(dim, lambda: gaussian.init(dim, spec.num_actions), predict, perturb, update)


def _shared(spec: Spec, kind: features.Features, add_bias: bool, gamma: Float[Array, ""] | float) -> Model:
    dim = features.dim(kind, spec, add_bias)

    def predict(context: Context, solution: Solution) -> tuple[Array, Array]:
        return features.predict(kind, add_bias, context, solution)

    def perturb(context: Context, solution: Solution, noise: Array) -> Array:
        return features.linear(kind, add_bias, context, gaussian.sample(solution, noise))

    def update(state: Posterior, seen: Interaction) -> Posterior:
        arm = chosen_arms(seen.context, seen.action)
        parts = features.parts(kind, add_bias, seen.context.user, arm)
        return gaussian.update(state, parts, seen.reward, seen.weight, gamma)

    return Model(dim, lambda: gaussian.init(dim), predict, perturb, update)
