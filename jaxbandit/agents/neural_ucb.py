"""NeuralUCB and NeuralTS: a network predicts rewards, and its gradients say how little it knows of an arm.

g_a is the gradient of f_a in the parameters phi, m the width of the widest hidden layer, and of M the diagonal alone is
kept: M_i = lambda + sum of w g_i^2 / m over the arms taken, with gradients at the parameters before they are trained.
s_a^2 = sum_i g_ai^2 / (m M_i). The papers pull parameters towards their start; Adam does not here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models.networks import example, make_network, widest
from jaxbandit.agents.models.training import Learned, TrainingSettings, batch_of, context_of, make_learner, values_of
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, offered_arms

AT_ONCE = 2**20  # numbers in the gradients that are formed side by side

Value: TypeAlias = Callable[[PyTree, Array, Array], Float[Array, ""]]  # (phi, user, arm) -> f


class GradientState(NamedTuple):
    """What is learnt, and the gradients met so far."""

    learned: Learned
    squares: PyTree  # sum of w g^2 / m, shaped like the parameters; M is the ridge plus this


@dataclass(frozen=True)
class GradientSettings:
    """Settings of neural-ucb, and of neural-ts, whose ridge has another default."""

    alpha: settings.Alpha = 1.0
    tikhonov_weight: settings.TikhonovWeight = 0.001
    training: TrainingSettings = TrainingSettings()
    ties: settings.Ties = "random"


@flat_settings
def neural_ucb(spec: Spec, *, own: GradientSettings = GradientSettings()) -> Agent[GradientState]:
    """Take argmax_a f_a + alpha sqrt(sum_i g_ai^2 / (m M_i)), g_a the gradient of f_a in the parameters.

    Source: Zhou, Li & Gu 2020, "Neural contextual bandits with UCB-based exploration", Algorithm 1,
    https://arxiv.org/abs/1911.04462.
    """

    def score(key: Key[Array, ""], mean: Array, variance: Array) -> Float[Array, "B K"]:
        return mean + own.alpha * jnp.sqrt(variance)

    return gradient_agent(spec, own, score)


@flat_settings
def neural_ts(spec: Spec, *, own: GradientSettings = GradientSettings(tikhonov_weight=0.1)) -> Agent[GradientState]:
    """Take argmax_a f~_a, f~_a ~ N(f_a, alpha^2 lambda sum_i g_ai^2 / (m M_i)), one draw for each user and arm.

    g_a, m and M_i are those of neural-ucb.
    Source: Zhang, Zhou, Li & Gu 2021, "Neural Thompson sampling", Algorithm 1, https://arxiv.org/abs/2010.00827.
    """

    def score(key: Key[Array, ""], mean: Array, variance: Array) -> Float[Array, "B K"]:
        return mean + own.alpha * jnp.sqrt(own.tikhonov_weight * variance) * jax.random.normal(key, mean.shape)

    return gradient_agent(spec, own, score)


def gradient_agent(
    spec: Spec, own: GradientSettings, score: Callable[[Key[Array, ""], Array, Array], Float[Array, "B K"]]
) -> Agent[GradientState]:
    """Act by `score` of predictions and their variances; add the gradients of the arms taken, then train."""
    training = own.training
    module, width = make_network(spec, training.shape), widest(spec, training.shape)
    value = _value(spec, module)

    def outputs(_: Key[Array, ""], params: PyTree, context: Context) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, noise=training.noise))

    learner = make_learner(spec, training, outputs)

    def init(key: Key[Array, ""]) -> GradientState:
        params = module.init(key, example(spec), noise=training.noise)
        return GradientState(learner.init(params), jax.tree.map(jnp.zeros_like, params))

    def select(key: Key[Array, ""], state: GradientState, context: Context) -> Decision:
        score_key, tie_key = prng.split(key)
        precision = jax.tree.map(lambda total: width * (own.tikhonov_weight + total), state.squares)
        mean, variance = predict(spec, value, state.learned.params, precision, context)
        scores = exploration.allowed(context, score(score_key, mean, variance))
        return Decision(exploration.greedy(tie_key, scores, own.ties))

    def update(key: Key[Array, ""], state: GradientState, seen: Interaction) -> GradientState:
        batch = batch_of(spec, seen)
        grads = jax.vmap(partial(jax.grad(value), state.learned.params))(batch.user, batch.arm)

        def add(total: Array, grad: Float[Array, "B ..."]) -> Array:
            return total + einsum("b,b...->...", seen.weight / width, grad * grad)

        squares = jax.tree.map(add, state.squares, grads)
        return GradientState(learner.learn(key, state.learned, batch, seen.weight, seen.round), squares)

    return Agent(init, select, update)


def _value(spec: Spec, module: nn.Module) -> Value:
    """Make f of one user and one arm, a function of the parameters."""

    def value(params: PyTree, user: Float[Array, " Du"], arm: Array) -> Float[Array, ""]:
        values = module.apply(params, context_of(spec, user[None], arm[None]))
        return values_of(spec, cast(Array, values), arm[None])[0]

    return value


def predict(
    spec: Spec, value: Value, params: PyTree, precision: PyTree, context: Context
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """f_a and sum_i g_ai^2 / precision_i of every offered arm; gradients are formed for a few pairs at a time."""
    batch = context.user.shape[0]
    every = jnp.broadcast_to(jnp.arange(spec.num_actions, dtype=jnp.int32)[None], (batch, spec.num_actions))
    arms = offered_arms(context) if spec.arm_dim else every
    num_arms = arms.shape[1]

    def one(pair: tuple[Array, Array]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        mean, grads = jax.value_and_grad(value)(params, *pair)
        terms = jax.tree.map(lambda grad, over: jnp.sum(grad * grad / over), grads, precision)
        return mean, jnp.sum(jnp.stack(jax.tree.leaves(terms)))

    pairs = jnp.repeat(context.user, num_arms, axis=0), arms.reshape(batch * num_arms, *arms.shape[2:])
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    mean, variance = jax.lax.map(one, pairs, batch_size=max(1, AT_ONCE // size))
    return mean.reshape(batch, num_arms), variance.reshape(batch, num_arms)
