"""NeuralUCB and NeuralTS: a network predicts rewards, and its gradients say how little it knows of an arm.

g_a is the gradient of f_a in the parameters phi, m the width of the widest hidden layer, and of M the diagonal alone is
kept: M_i = lambda + sum of w g_i^2 / m over the arms taken, with gradients at the parameters before they are trained.
s_a^2 = sum_i g_ai^2 / (m M_i). The papers pull parameters towards their start; Adam does not here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from operator import getitem
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models.networks import example, make_network, widest
from jaxbandit.agents.models.training import Batch, Learned, TrainingSettings, batch_of, context_of, make_learner
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, offered_arms

AT_ONCE = 2**21  # numbers in the layers of the pairs that are predicted side by side


class Layers(NamedTuple):
    """Of one context: values, and what the gradients of dense layers are products of, by the layers' paths."""

    values: Float[Array, " K"]
    inputs: dict[tuple[str, ...], Float[Array, " i"]]
    slopes: dict[tuple[str, ...], Float[Array, "q o"]]  # derivatives of q weighted sums of the values in the outputs


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

    def outputs(_: Key[Array, ""], params: PyTree, context: Context) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, noise=training.noise))

    learner = make_learner(spec, training, outputs)

    def init(key: Key[Array, ""]) -> GradientState:
        params = module.init(key, example(spec), noise=training.noise)
        return GradientState(learner.init(params), jax.tree.map(jnp.zeros_like, params))

    def select(key: Key[Array, ""], state: GradientState, context: Context) -> Decision:
        score_key, tie_key = prng.split(key)
        precision = jax.tree.map(lambda total: width * (own.tikhonov_weight + total), state.squares)
        mean, variance = predict(spec, module, state.learned.params, precision, context)
        scores = exploration.allowed(context, score(score_key, mean, variance))
        return Decision(exploration.greedy(tie_key, scores, own.ties))

    def update(key: Key[Array, ""], state: GradientState, seen: Interaction) -> GradientState:
        batch = batch_of(spec, seen)
        squares = add_squares(spec, module, state.learned.params, state.squares, batch, seen.weight / width)
        return GradientState(learner.learn(key, state.learned, batch, seen.weight, seen.round), squares)

    return Agent(init, select, update)


def predict(
    spec: Spec, module: nn.Module, params: PyTree, precision: PyTree, context: Context
) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """f_a and sum_i g_ai^2 / precision_i of every offered arm.

    The gradient in a dense layer is its input x times the slope d of f_a in its output: the squares add up to
    sum_o d_o^2 (sum_i x_i^2 / precision_io + 1 / precision_o), and no gradient is formed.
    """
    batch, every = context.user.shape[0], jnp.eye(1 if spec.arm_dim else spec.num_actions)

    def one(user: Float[Array, " Du"], *arm: Float[Array, " Da"]) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        shown = context_of(spec, user[None], arm[0][None] if arm else jnp.zeros(1, jnp.int32))
        layers = backward(module, params, shown, every)
        terms = [
            einsum(
                "qo,o->q", slope**2, einsum("i,io->o", layers.inputs[path] ** 2, 1 / own["kernel"]) + 1 / own["bias"]
            )
            for path, slope in layers.slopes.items()
            for own in [layer_of(precision, path)]
        ]
        return layers.values, jnp.sum(jnp.stack(terms), axis=0)

    rows: tuple[Array, ...] = (context.user,)
    if spec.arm_dim:
        arms = offered_arms(context)
        rows = jnp.repeat(context.user, arms.shape[1], axis=0), arms.reshape(-1, arms.shape[2])
    outputs = sum(leaf.shape[-1] for leaf in jax.tree.leaves(params))
    size = max(1, AT_ONCE // (outputs * every.shape[0]))
    mean, variance = jax.lax.map(lambda row: one(*row), rows, batch_size=size)
    return mean.reshape(batch, -1), variance.reshape(batch, -1)


def add_squares(
    spec: Spec, module: nn.Module, params: PyTree, squares: PyTree, batch: Batch, weight: Float[Array, " B"]
) -> PyTree:
    """Add sum of weight g^2, g the gradients of f at the arms of a batch."""

    def one(user: Float[Array, " Du"], arm: Array) -> Layers:
        taken = jnp.ones((1, 1)) if spec.arm_dim else jax.nn.one_hot(arm[None], spec.num_actions)
        return backward(module, params, context_of(spec, user[None], arm[None]), taken)

    layers = jax.vmap(one)(batch.user, batch.arm)

    def add(path: tuple[Any, ...], total: Array) -> Array:
        *layer, name = (part.key for part in path[1:])
        if tuple(layer) not in layers.slopes:
            return total
        slope = layers.slopes[tuple(layer)][:, 0] ** 2 * weight[:, None]
        return total + (
            jnp.sum(slope, axis=0) if name == "bias" else einsum("bi,bo->io", layers.inputs[tuple(layer)] ** 2, slope)
        )

    return jax.tree.map_with_path(add, squares)


def backward(module: nn.Module, params: PyTree, context: Context, weights: Float[Array, "q K"]) -> Layers:
    """Read off the inputs of all dense layers for one user, and the slopes of q weighted sums of the values."""

    def run(shifts: dict[tuple[str, ...], Array]) -> tuple[Array, tuple[dict[tuple[str, ...], Array], ...]]:
        inputs, outputs = {}, {}

        def tap(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], of: Any) -> Any:
            y = call(*args, **kwargs)
            if not isinstance(of.module, nn.Dense):
                return y
            path = of.module.path
            inputs[path], outputs[path] = args[0].reshape(-1), y
            return y + shifts[path] if shifts else y

        with nn.intercept_methods(tap):
            values = cast(Array, module.apply(params, context))
        return values[0], (inputs, outputs)

    shapes = jax.eval_shape(lambda: run({}))[1][1]
    values, pull, (inputs, _) = jax.vjp(run, jax.tree.map(lambda y: jnp.zeros(y.shape), shapes), has_aux=True)
    (slopes,) = jax.vmap(pull)(weights)
    return Layers(values, inputs, {path: slope.reshape(weights.shape[0], -1) for path, slope in slopes.items()})


def layer_of(tree: PyTree, path: tuple[str, ...]) -> dict[str, Array]:
    """Find the arrays of one layer."""
    return cast(dict[str, Array], reduce(getitem, path, tree["params"]))
