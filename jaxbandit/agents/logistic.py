"""Logistic agents: UCB and Thompson sampling on an online logistic regression; arms as in the linear agents.

E r = sigmoid(x_a'theta) for rewards scaled to [0, 1]. theta is the mode of the posterior, M = A + lambda I its
curvature there: A <- A + sum w q (1 - q) x x', q = sigmoid(x'theta), after every round. Nothing is forgotten.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import settings
from jaxbandit.agents.linear import Model, Rule, make_model, sampling_rule, upper_bound_rule
from jaxbandit.agents.models import features, gaussian, groups
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.agents.settings import LinearSettings, RewardRange
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, chosen_arms

SHARES = (*(0.5**i for i in range(8)), 0.0)  # of a Newton step, that are tried


@dataclass(frozen=True)
class LogisticSettings:
    """Settings of a logistic agent, its width of exploration aside."""

    linear: LinearSettings = LinearSettings()
    newton_steps: Annotated[int, Ge(1), doc("Newton steps of each update")] = 3
    ties: settings.Ties = "random"
    rewards: RewardRange = RewardRange()


class Laplace(NamedTuple):
    """A Gaussian about the mode of M logistic models: one for each fixed arm, or a single one."""

    mean: Float[Array, "M d"]
    precision: Float[Array, "M d d"]  # without the ridge


class Batch(NamedTuple):
    """What models learn from."""

    model: Int[Array, " B"]  # of each interaction
    features: Float[Array, "B d"]
    reward: Float[Array, " B"]  # in [0, 1]
    weight: Float[Array, " B"]


@flat_settings
def logistic_ucb(
    spec: Spec, *, alpha: settings.Alpha = 1.0, logistic: LogisticSettings = LogisticSettings()
) -> Agent[Laplace]:
    """Take argmax_a x_a'theta + alpha sqrt(x_a' M^-1 x_a), E r = sigmoid(x_a'theta), M the curvature of the loss.

    Sources: Filippi, Cappé, Garivier & Szepesvári 2010, "Parametric bandits: the generalized linear case",
    https://papers.nips.cc/paper/4166-parametric-bandits-the-generalized-linear-case; Li, Lu & Zhou 2017, "Provably
    optimal algorithms for generalized linear contextual bandits" (UCB-GLM), https://arxiv.org/abs/1703.00048. Their
    matrix has no factors q (1 - q).
    """
    model = make_model(spec, logistic.linear)
    return laplace_agent(spec, model, logistic, upper_bound_rule(model, alpha, logistic.ties))


@flat_settings
def logistic_ts(
    spec: Spec, *, alpha: settings.Alpha = 1.0, logistic: LogisticSettings = LogisticSettings()
) -> Agent[Laplace]:
    """Take argmax_a x_a'theta~, theta~ ~ N(theta, alpha^2 M^-1) a draw per user, E r = sigmoid(x_a'theta).

    Source: Chapelle & Li 2011, "An empirical evaluation of Thompson sampling", Algorithm 3,
    https://papers.nips.cc/paper/4321-an-empirical-evaluation-of-thompson-sampling, with the whole of M in place of its
    diagonal.
    """
    model = make_model(spec, logistic.linear)
    return laplace_agent(spec, model, logistic, sampling_rule(model, alpha, logistic.ties))


def learn(state: Laplace, batch: Batch, ridge: Traced, newton_steps: int) -> Laplace:
    """Move to the mode of the old Gaussian times the likelihood of a batch, and add the batch's curvature there.

    A Newton step is halved until the loss does not rise.
    """

    def curvature(mean: Float[Array, "M d"]) -> Float[Array, "M d d"]:
        chance = jax.nn.sigmoid(_logits(batch, mean))
        bent = batch.features * (batch.weight * chance * (1 - chance))[:, None]
        return groups.add_products(state.precision, batch.model, bent, batch.features)

    def step(_: Int[Array, ""], mean: Float[Array, "M d"]) -> Float[Array, "M d"]:
        logit, offset = _logits(batch, mean), mean - state.mean
        residual = batch.weight * (batch.reward - jax.nn.sigmoid(logit))
        gradient = groups.add_rows(-_times(state, ridge, offset), batch.model, batch.features * residual[:, None])
        newton = gaussian.solve(Posterior(curvature(mean), gradient, jnp.zeros(mean.shape[:1])), ridge).mean
        return mean + _share(state, batch, ridge, logit, offset, newton)[:, None] * newton

    mean = jax.lax.fori_loop(0, newton_steps, step, state.mean)
    return Laplace(mean, curvature(mean))


def _share(
    state: Laplace,
    batch: Batch,
    ridge: Traced,
    logit: Float[Array, " B"],
    offset: Float[Array, "M d"],
    newton: Float[Array, "M d"],
) -> Float[Array, " M"]:
    """Find the largest share of each model's step that does not raise its loss beyond rounding."""
    share = jnp.array(SHARES)[:, None]
    line = logit[None] + share * _logits(batch, newton)[None]
    loss = batch.weight[None] * (jax.nn.softplus(line) - batch.reward[None] * line)
    slope, bend = (einsum("ki,ki->k", _times(state, ridge, newton), x)[None] for x in (offset, newton))
    cost = groups.add_rows((share * slope + 0.5 * share**2 * bend).T, batch.model, loss.T).T
    falls = cost <= cost[-1:] + 1e-6 * jnp.abs(cost[-1:])
    return share[jnp.argmax(falls, axis=0), 0]


def _logits(batch: Batch, theta: Float[Array, "M d"]) -> Float[Array, " B"]:
    return jnp.sum(batch.features * theta[batch.model], axis=-1)


def _times(state: Laplace, ridge: Traced, vector: Float[Array, "M d"]) -> Float[Array, "M d"]:
    return einsum("kij,kj->ki", state.precision, vector) + ridge * vector


def laplace_agent(spec: Spec, model: Model, logistic: LogisticSettings, rule: Rule) -> Agent[Laplace]:
    """Act by `rule` on the Gaussian solved once per round; learn once from the whole batch."""
    models = 1 if spec.arm_dim else spec.num_actions
    batch_of = _batches(spec, logistic)

    def select(key: Key[Array, ""], state: Laplace, context: Context) -> Decision:
        solved = model.solve(Posterior(state.precision, state.mean, jnp.zeros(models)))
        solution = Solution(state.mean, solved.whitener)
        if spec.arm_dim:
            solution = Solution(solution.mean[0], solution.whitener[0])
        return Decision(rule.action(key, context, solution))

    def update(key: Key[Array, ""], state: Laplace, seen: Interaction) -> Laplace:
        return learn(state, batch_of(seen), logistic.linear.tikhonov_weight, logistic.newton_steps)

    return Agent(
        init=lambda key: Laplace(jnp.zeros((models, model.dim)), jnp.zeros((models, model.dim, model.dim))),
        select=select,
        update=update,
    )


def _batches(spec: Spec, logistic: LogisticSettings) -> Callable[[Interaction], Batch]:
    """Make the function that reads off an interaction what the models learn from."""
    bounds, linear = settings.reward_bounds(spec, logistic.rewards), logistic.linear

    def batch_of(seen: Interaction) -> Batch:
        if spec.arm_dim:
            model = jnp.zeros_like(seen.action)
            arms = chosen_arms(seen.context, seen.action)
            x = features.joint(linear.features, linear.add_bias, seen.context.user, arms)
        else:
            model = seen.action
            x = features.with_bias(seen.context.user, linear.add_bias)
        return Batch(model, x, settings.to_unit(seen.reward, bounds), seen.weight)

    return batch_of
