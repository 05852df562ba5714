"""Linear agents: LinUCB, LinTS and LinGreedy; one model per arm where arms are fixed, one shared model otherwise.

In the notation of `jaxbandit.agents`: a round turns A into gamma A + sum w x x' and b into gamma b + sum w r x;
M = A + lambda I and theta = M^-1 b are solved once in the next round, for all of its users.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from annotated_types import doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.agents.settings import LinearSettings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, chosen_arms

Sampling: TypeAlias = Literal["theta", "arm"]


class Model(NamedTuple):
    """A linear model of rewards as pure functions of its posterior."""

    dim: int
    init: Callable[[], Posterior]
    solve: Callable[[Posterior], Solution]
    predict: Callable[[Context, Solution], tuple[Float[Array, "B K"], Float[Array, "B K"]]]  # f, s^2
    perturb: (
        Callable[[Context, Solution, Float[Array, "B d"]], Float[Array, "B K"]] | None
    )  # x_a'L'^-1 xi, shared model
    update: Callable[[Posterior, Interaction], Posterior]


class Rule(NamedTuple):
    """How arms are chosen once the posterior is solved."""

    action: Callable[[Key[Array, ""], Context, Solution], Int[Array, " B"]]
    probabilities: Callable[[Context, Solution], Float[Array, "B K"]] | None = None


@flat_settings
def linucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = LinearSettings(),
    ties: settings.Ties = "random",
) -> Agent[Posterior]:
    """Take argmax_a x_a'theta + alpha sqrt(x_a' M^-1 x_a).

    Sources: Li, Chu, Langford & Schapire 2010, "A contextual-bandit approach to personalized news article
    recommendation", Algorithm 1 (a model per arm), https://arxiv.org/abs/1003.0146; Chu, Li, Reyzin & Schapire 2011,
    "Contextual bandits with linear payoff functions" (a shared one), https://proceedings.mlr.press/v15/chu11a.html.
    """
    model = make_model(spec, linear, gamma)
    return posterior_agent(model, upper_bound_rule(model, alpha, ties))


@flat_settings
def lints(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = LinearSettings(),
    sampling: Annotated[
        Sampling, doc("draw parameters once per user, or each arm's score on its own as TF-Agents does")
    ] = "theta",
    ties: settings.Ties = "random",
) -> Agent[Posterior]:
    """Take argmax_a x_a'theta~, theta~ = theta + alpha L'^-1 xi, one draw per user (and model).

    `sampling="arm"` draws each score from N(f_a, alpha^2 s_a^2) instead, which over-explores with a shared model.
    Source: Agrawal & Goyal 2013, "Thompson sampling for contextual bandits with linear payoffs",
    https://arxiv.org/abs/1209.3352.
    """
    model = make_model(spec, linear, gamma)
    return posterior_agent(model, sampling_rule(model, alpha, ties, sampling))


@flat_settings
def greedy(
    spec: Spec,
    *,
    epsilon: settings.Epsilon = 0.1,
    gamma: settings.Gamma = 1.0,
    linear: LinearSettings = LinearSettings(),
    ties: settings.Ties = "random",
) -> Agent[tuple[Posterior, Array]]:
    """Take argmax_a x_a'theta, and with probability epsilon a uniform allowed arm (LinGreedy)."""
    model = make_model(spec, linear, gamma)

    def select(key: Key[Array, ""], state: tuple[Posterior, Array], context: Context) -> Decision:
        mean, _ = model.predict(context, model.solve(state[0]))
        probability = settings.at_count(epsilon, state[1])
        return Decision(exploration.epsilon_greedy(key, context, mean, probability, ties))

    def probabilities(state: tuple[Posterior, Array], context: Context) -> Float[Array, "B K"]:
        mean, _ = model.predict(context, model.solve(state[0]))
        return exploration.epsilon_greedy_probabilities(context, mean, settings.at_count(epsilon, state[1]), ties)

    return Agent(
        init=lambda key: (model.init(), jnp.zeros((), jnp.int32)),
        select=select,
        update=lambda key, state, interaction: (model.update(state[0], interaction), state[1] + 1),
        probabilities=probabilities,
    )


def upper_bound_rule(model: Model, alpha: Traced, ties: exploration.Ties) -> Rule:
    """Take argmax_a f_a + alpha s_a."""

    def scores(context: Context, solution: Solution) -> Float[Array, "B K"]:
        mean, variance = model.predict(context, solution)
        return exploration.upper_bounds(context, mean, variance, alpha)

    return Rule(
        lambda key, context, solution: exploration.greedy(key, scores(context, solution), ties),
        lambda context, solution: exploration.greedy_probabilities(scores(context, solution), ties),
    )


def sampling_rule(model: Model, alpha: Traced, ties: exploration.Ties, sampling: Sampling = "theta") -> Rule:
    """Take argmax_a x_a'theta~ with a theta~ for each user, or argmax_a f_a + alpha s_a xi_a.

    Models that arms do not share make these the same: x'theta~_a ~ N(f_a, alpha^2 s_a^2), independent of other arms.
    """

    def action(key: Key[Array, ""], context: Context, solution: Solution) -> Int[Array, " B"]:
        noise_key, tie_key = prng.split(key)
        mean, variance = model.predict(context, solution)
        if sampling == "arm" or model.perturb is None:
            deviation = jnp.sqrt(variance) * jax.random.normal(noise_key, mean.shape)
        else:
            deviation = model.perturb(context, solution, jax.random.normal(noise_key, (mean.shape[0], model.dim)))
        return exploration.greedy(tie_key, exploration.allowed(context, mean + alpha * deviation), ties)

    return Rule(action)


def posterior_agent(model: Model, rule: Rule) -> Agent[Posterior]:
    """Act by `rule` on the posterior solved once per round; update it once with the whole batch."""

    def probabilities(state: Posterior, context: Context) -> Float[Array, "B K"]:
        assert rule.probabilities is not None
        return rule.probabilities(context, model.solve(state))

    return Agent(
        init=lambda key: model.init(),
        select=lambda key, state, context: Decision(rule.action(key, context, model.solve(state))),
        update=lambda key, state, interaction: model.update(state, interaction),
        probabilities=probabilities if rule.probabilities else None,
    )


def make_model(spec: Spec, linear: LinearSettings, gamma: Traced = 1.0) -> Model:
    """Make the disjoint model where arms are fixed, the shared one where they have features."""
    return _shared(spec, linear, gamma) if spec.arm_dim else _disjoint(spec, linear, gamma)


def _disjoint(spec: Spec, linear: LinearSettings, gamma: Traced) -> Model:
    dim = features.dim("concat", spec, linear.add_bias)

    def predict(context: Context, solution: Solution) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
        return gaussian.predict_each(solution, features.with_bias(context.user, linear.add_bias))

    def update(state: Posterior, seen: Interaction) -> Posterior:
        user = features.with_bias(seen.context.user, linear.add_bias)
        return gaussian.update_each(state, seen.action, user, seen.reward, seen.weight, gamma)

    solve = partial(gaussian.solve, tikhonov_weight=linear.tikhonov_weight)
    return Model(dim, lambda: gaussian.init(dim, spec.num_actions), solve, predict, None, update)


def _shared(spec: Spec, linear: LinearSettings, gamma: Traced) -> Model:
    kind, add_bias = linear.features, linear.add_bias
    dim = features.dim(kind, spec, add_bias)

    def predict(context: Context, solution: Solution) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
        return features.predict(kind, add_bias, context, solution)

    def perturb(context: Context, solution: Solution, noise: Float[Array, "B d"]) -> Float[Array, "B K"]:
        return features.linear(kind, add_bias, context, gaussian.sample(solution, noise))

    def update(state: Posterior, seen: Interaction) -> Posterior:
        arm = chosen_arms(seen.context, seen.action)
        parts = features.parts(kind, add_bias, seen.context.user, arm)
        return gaussian.update(state, parts, seen.reward, seen.weight, gamma)

    solve = partial(gaussian.solve, tikhonov_weight=linear.tikhonov_weight)
    return Model(dim, lambda: gaussian.init(dim), solve, predict, perturb, update)
