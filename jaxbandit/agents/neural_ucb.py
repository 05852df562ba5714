"""NeuralUCB and NeuralTS: a network predicts rewards, and its gradients say how little it knows of an arm."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import training
from jaxbandit.agents.models.networks import example, make_network
from jaxbandit.agents.models.training import Learned, Training, batch_of, context_of, make_learner, taken
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, offered_arms

AT_ONCE = 2**20  # numbers in the gradients that are formed side by side


class GradientState(NamedTuple):
    """What is learnt, and the gradients met so far."""

    learned: Learned
    squares: PyTree  # sum of w g^2 / m, shaped like the parameters; Z is the ridge plus this


def neural_ucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 0.001,
    learning_rate: settings.LearningRate = 0.003,
    network: training.Network = "common_tower",
    user_layers: training.UserLayers = (64, 32),
    arm_layers: training.ArmLayers = (64, 32),
    common_layers: training.CommonLayers = (32,),
    embedding_dim: training.EmbeddingDim = 32,
    loss: training.Loss = "mse",
    clip_norm: training.ClipNorm = 10.0,
    buffer_size: training.BufferSize = 0,
    minibatch_size: training.MinibatchSize = 128,
    train_steps: training.TrainSteps = 1,
    train_every: training.TrainEvery = 1,
    ties: settings.Ties = "random",
) -> Agent[GradientState]:
    """Take argmax_a f + alpha sqrt(sum_p g_p^2 / (m Z_p)), g the gradient of f(x, a) in the parameters.

    Z_p starts at tikhonov_weight and adds g_p^2 / m of every arm taken, at the parameters before they are trained;
    m is the width of the widest hidden layer. Of the covariance the diagonal alone is kept, and parameters are trained
    by Adam without a pull towards their start.
    Source: Zhou et al. 2020, Algorithm 1.
    """

    def score(key: Key[Array, ""], mean: Array, variance: Array) -> Float[Array, "B K"]:
        return mean + alpha * jnp.sqrt(variance)

    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    width = widest(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)
    return _agent(spec, module, width, how, tikhonov_weight, score, ties)


def neural_ts(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 0.1,
    learning_rate: settings.LearningRate = 0.003,
    network: training.Network = "common_tower",
    user_layers: training.UserLayers = (64, 32),
    arm_layers: training.ArmLayers = (64, 32),
    common_layers: training.CommonLayers = (32,),
    embedding_dim: training.EmbeddingDim = 32,
    loss: training.Loss = "mse",
    clip_norm: training.ClipNorm = 10.0,
    buffer_size: training.BufferSize = 0,
    minibatch_size: training.MinibatchSize = 128,
    train_steps: training.TrainSteps = 1,
    train_every: training.TrainEvery = 1,
    ties: settings.Ties = "random",
) -> Agent[GradientState]:
    """Take the arm of the highest draw from N(f, alpha^2 lambda sum_p g_p^2 / (m Z_p)), one for each user and arm.

    lambda is tikhonov_weight; g, Z and m are those of neural-ucb.
    Source: Zhang et al. 2021, Algorithm 1.
    """

    def score(key: Key[Array, ""], mean: Array, variance: Array) -> Float[Array, "B K"]:
        return mean + alpha * jnp.sqrt(tikhonov_weight * variance) * jax.random.normal(key, mean.shape)

    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    width = widest(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)
    return _agent(spec, module, width, how, tikhonov_weight, score, ties)


def _agent(
    spec: Spec,
    module: nn.Module,
    width: int,
    how: Training,
    tikhonov_weight: Traced,
    score: Callable[..., Array],
    ties: exploration.Ties,
) -> Agent[GradientState]:
    """Act by `score` of predictions and their variances; add the gradients of the arms taken, then train."""

    def value(params: PyTree, user: Float[Array, " Du"], arm: Array) -> Float[Array, ""]:
        values = module.apply(params, context_of(spec, user[None], arm[None]))
        return taken(spec, cast(Array, values), arm[None])[0]

    def outputs(_: Key[Array, ""], params: PyTree, context: Context) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, noise=how.noise))

    learner = make_learner(spec, how, outputs)

    def init(key: Key[Array, ""]) -> GradientState:
        params = module.init(key, example(spec), noise=how.noise)
        return GradientState(learner.init(params), jax.tree.map(jnp.zeros_like, params))

    def select(key: Key[Array, ""], state: GradientState, context: Context) -> Decision:
        score_key, tie_key = prng.split(key)
        precision = jax.tree.map(lambda total: width * (tikhonov_weight + total), state.squares)
        mean, variance = predict(spec, value, state.learned.params, precision, context)
        scores = exploration.allowed(context, score(score_key, mean, variance))
        return Decision(exploration.greedy(tie_key, scores, ties))

    def update(key: Key[Array, ""], state: GradientState, seen: Interaction) -> GradientState:
        batch = batch_of(spec, seen)
        grads = jax.vmap(partial(jax.grad(value), state.learned.params))(batch.user, batch.arm)

        def add(total: Array, grad: Float[Array, "B ..."]) -> Array:
            return total + einsum("b,b...->...", seen.weight / width, grad * grad)

        squares = jax.tree.map(add, state.squares, grads)
        return GradientState(learner.learn(key, state.learned, batch, seen.weight, seen.round), squares)

    return Agent(init, select, update)


def predict(
    spec: Spec, value: Callable[..., Array], params: PyTree, precision: PyTree, context: Context
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Value f and sum_p g_p^2 / precision_p of every offered arm; gradients are formed for a few pairs at a time."""
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


def widest(
    spec: Spec,
    network: str,
    user_layers: tuple[int, ...],
    arm_layers: tuple[int, ...],
    common_layers: tuple[int, ...],
    embedding_dim: int,
) -> int:
    """Width m of the widest hidden layer of the network that `make_network` makes of the same settings."""
    if spec.arm_dim == 0:
        return max(user_layers, default=1)
    top = (embedding_dim,) if network == "dot_product" else common_layers
    return max((*user_layers, *arm_layers, *top), default=1)
