"""Logistic agents: UCB and Thompson sampling on an online logistic regression; arms as in the linear agents."""

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import bounded, exploration, settings
from jaxbandit.agents.linear import Model, make_model
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, chosen_arms

SHARES = (*(0.5**i for i in range(8)), 0.0)  # of a Newton step, that are tried

NewtonSteps = Annotated[int, Ge(1), doc("Newton steps of each update")]


class Laplace(NamedTuple):
    """A Gaussian about the mode of M logistic models: one for each fixed arm, or a single one."""

    mean: Float[Array, "M d"]
    precision: Float[Array, "M d d"]  # without the ridge


class Batch(NamedTuple):
    """What models learn from."""

    member: Float[Array, "B M"]  # one-hot: the model of each row
    features: Float[Array, "B d"]
    reward: Float[Array, " B"]  # in [0, 1]
    weight: Float[Array, " B"]


def logistic_ucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    newton_steps: NewtonSteps = 3,
    ties: settings.Ties = "random",
    reward_low: bounded.RewardLow = None,
    reward_high: bounded.RewardHigh = None,
) -> Agent[Laplace]:
    """Take argmax_a x'theta + alpha sqrt(x' H^-1 x), E r = sigmoid(x'theta), H the curvature of the loss.

    Rewards are scaled to [0, 1]. Source: Filippi et al. 2010; Li et al. 2017 (UCB-GLM), here with H as Laplace has it.
    """
    model = make_model(spec, features, add_bias, 1.0)

    def choose(key: Key[Array, ""], context: Context, solution: Solution) -> Int[Array, " B"]:
        mean, variance = model.predict(context, solution)
        return exploration.greedy(key, exploration.upper_bounds(context, mean, variance, alpha), ties)

    bounds = bounded.reward_bounds(spec, reward_low, reward_high)
    return _agent(spec, model, _observe(spec, features, add_bias, bounds), tikhonov_weight, newton_steps, choose)


def logistic_ts(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    newton_steps: NewtonSteps = 3,
    ties: settings.Ties = "random",
    reward_low: bounded.RewardLow = None,
    reward_high: bounded.RewardHigh = None,
) -> Agent[Laplace]:
    """Take argmax_a x'theta~, theta~ ~ N(theta, alpha^2 H^-1) a draw per user, E r = sigmoid(x'theta).

    Rewards are scaled to [0, 1]. Source: Chapelle & Li 2011, Algorithm 3, with the whole of H in place of its diagonal.
    """
    model = make_model(spec, features, add_bias, 1.0)

    def choose(key: Key[Array, ""], context: Context, solution: Solution) -> Int[Array, " B"]:
        noise_key, tie_key = prng.split(key)
        mean, _ = model.predict(context, solution)
        noise = jax.random.normal(noise_key, (mean.shape[0], *solution.mean.shape[:-1], model.dim))
        scores = mean + alpha * model.perturb(context, solution, noise)
        return exploration.greedy(tie_key, exploration.allowed(context, scores), ties)

    bounds = bounded.reward_bounds(spec, reward_low, reward_high)
    return _agent(spec, model, _observe(spec, features, add_bias, bounds), tikhonov_weight, newton_steps, choose)


def learn(state: Laplace, batch: Batch, ridge: Traced, newton_steps: int) -> Laplace:
    """Move to the mode of the old Gaussian times the likelihood of a batch, and add the batch's curvature there.

    H <- H + sum w p (1 - p) x x', p = sigmoid(x'theta). A Newton step is halved until the loss does not rise.
    """

    def curvature(mean: Float[Array, "M d"]) -> Float[Array, "M d d"]:
        chance = jax.nn.sigmoid(_logits(batch, mean))
        each = batch.member * (batch.weight * chance * (1 - chance))[:, None]
        return state.precision + einsum("bk,bi,bj->kij", each, batch.features, batch.features)

    def step(_: Int[Array, ""], mean: Float[Array, "M d"]) -> Float[Array, "M d"]:
        logit, offset = _logits(batch, mean), mean - state.mean
        residual = batch.weight * (batch.reward - jax.nn.sigmoid(logit))
        gradient = einsum("bk,bi,b->ki", batch.member, batch.features, residual) - _times(state, ridge, offset)
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
    cost = einsum("sb,bk->sk", loss, batch.member) + share * slope + 0.5 * share**2 * bend
    falls = cost <= cost[-1:] + 1e-6 * jnp.abs(cost[-1:])
    return share[jnp.argmax(falls, axis=0), 0]


def _logits(batch: Batch, theta: Float[Array, "M d"]) -> Float[Array, " B"]:
    return jnp.sum(batch.member * einsum("bi,ki->bk", batch.features, theta), axis=-1)


def _times(state: Laplace, ridge: Traced, vector: Float[Array, "M d"]) -> Float[Array, "M d"]:
    return einsum("kij,kj->ki", state.precision, vector) + ridge * vector


def _observe(
    spec: Spec, kind: features.Features, add_bias: bool, bounds: tuple[float, float]
) -> Callable[[Interaction], Batch]:
    """Make the function that reads off an interaction what the models learn from."""

    def observe(seen: Interaction) -> Batch:
        if spec.arm_dim == 0:
            member, x = jax.nn.one_hot(seen.action, spec.num_actions), features.with_bias(seen.context.user, add_bias)
        else:
            member = jnp.ones((seen.action.shape[0], 1))
            x = features.joint(kind, add_bias, seen.context.user, chosen_arms(seen.context, seen.action))
        return Batch(member, x, bounded.to_unit(seen.reward, bounds), seen.weight)

    return observe


def _agent(
    spec: Spec,
    model: Model,
    observe: Callable[[Interaction], Batch],
    ridge: Traced,
    newton_steps: int,
    choose: Callable[[Key[Array, ""], Context, Solution], Array],
) -> Agent[Laplace]:
    """Act on the Gaussian solved once per round; learn once from the whole batch."""
    models = 1 if spec.arm_dim else spec.num_actions

    def select(key: Key[Array, ""], state: Laplace, context: Context) -> Decision:
        solved = gaussian.solve(Posterior(state.precision, state.mean, jnp.zeros(models)), ridge)
        solution = Solution(state.mean, solved.whitener)
        if spec.arm_dim:
            solution = Solution(solution.mean[0], solution.whitener[0])
        return Decision(choose(key, context, solution))

    return Agent(
        init=lambda key: Laplace(jnp.zeros((models, model.dim)), jnp.zeros((models, model.dim, model.dim))),
        select=select,
        update=lambda key, state, seen: learn(state, observe(seen), ridge, newton_steps),
    )
