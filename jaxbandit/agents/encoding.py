"""A network whose last hidden layer z(x) feeds a linear posterior, and the stored interactions that train both."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit import features
from jaxbandit.errors import InputError
from jaxbandit.networks import Tower
from jaxbandit.types import Context, Interaction, Spec

BLOCK = 1024  # stored rows of one model that are encoded at once
Known = TypeVar("Known")


class Rows(NamedTuple):
    """Arms that were pulled: what the network saw of them, the linear model they belong to, and what they paid."""

    x: Float[Array, "n Dx"]
    model: Int[Array, " n"]
    reward: Float[Array, " n"]
    weight: Float[Array, " n"]


class Encoder(NamedTuple):
    """A network as pure functions. Fixed arms have a linear model each, arms with features share one."""

    num_models: int
    dim: int  # of z
    init: Callable[[Key[Array, ""]], PyTree]
    rows: Callable[[Interaction], Rows]
    offered: Callable[[PyTree, Context], tuple[Array, Array]]  # z [B, d] or [B, K, d], and values [B, K]
    encode: Callable[[PyTree, Rows], tuple[Array, Array]]  # z [n, d], and the value of each row [n]


class Network(nn.Module):
    """x -> z(x), and one linear output for each model on top of it."""

    layers: Sequence[int]
    num_models: int

    @nn.compact
    def __call__(self, x: Float[Array, "*n Dx"]) -> tuple[Float[Array, "*n d"], Float[Array, "*n K"]]:
        """Encode and predict."""
        z = Tower(self.layers)(x)
        return z, nn.Dense(self.num_models)(z)


def make_encoder(spec: Spec, layers: tuple[int, ...]) -> Encoder:
    """Make the network of a user where arms are fixed, of [user; arm] where they have features.

    Raises:
        InputError: no layer.
    """
    if not layers:
        raise InputError("hidden_layers is (); allowed: at least one whole number > 0, as 64,32 or 64x32")
    network = Network(layers, 1 if spec.arm_dim else spec.num_actions)

    def apply(params: PyTree, x: Array) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):  # z goes into a solve
            return network.apply(params, x)  # type: ignore[return-value]

    def rows(seen: Interaction) -> Rows:
        if not spec.arm_dim:
            return Rows(seen.context.user, seen.action, seen.reward, seen.weight)
        x = features.joint("concat", False, seen.context.user, features.chosen(seen.context, seen.action))
        return Rows(x, jnp.zeros_like(seen.action), seen.reward, seen.weight)

    def offered(params: PyTree, context: Context) -> tuple[Array, Array]:
        if not spec.arm_dim:
            return apply(params, context.user)
        pairs = features.joint("concat", False, context.user[:, None], features.offered(context))
        z, values = apply(params, pairs)
        return z, values[..., 0]

    def encode(params: PyTree, rows: Rows) -> tuple[Array, Array]:
        z, values = apply(params, rows.x)
        return z, jnp.take_along_axis(values, rows.model[:, None], axis=1, mode="clip")[:, 0]

    def init(key: Key[Array, ""]) -> PyTree:
        return network.init(key, jnp.zeros((1, spec.user_dim + spec.arm_dim)))

    return Encoder(network.num_models, layers[-1], init, rows, offered, encode)


def memory(spec: Spec, buffer_size: int) -> Rows:
    """Make a ring of rows that holds nothing."""
    x = jnp.zeros((buffer_size, spec.user_dim + spec.arm_dim))
    return Rows(x, jnp.zeros(buffer_size, jnp.int32), jnp.zeros(buffer_size), jnp.zeros(buffer_size))


def store(memory: Rows, rows: Rows, round: Int[Array, ""]) -> tuple[Rows, Int[Array, ""]]:
    """Put the rows of a round over the oldest ones, without rewards that do not count; return how many are stored.

    Place and number follow from the round, so that they are the same in all lanes, and loops over rows stay loops.
    """
    size, batch = memory.reward.shape[0], rows.reward.shape[0]
    counted = rows._replace(reward=jnp.where(rows.weight > 0, rows.reward, 0.0))
    newest = jax.tree.map(lambda leaf: leaf[-size:], counted)
    offset = jnp.arange(max(0, batch - size), batch, dtype=jnp.int32)
    place = ((round % size) * batch + offset) % size
    stored = jnp.minimum(jnp.minimum(round, size) * batch + batch, size)
    return jax.tree.map(lambda ring, leaf: ring.at[place].set(leaf), memory, newest), stored


def take(memory: Rows, index: Int[Array, " n"]) -> Rows:
    """Copy some rows."""
    return jax.tree.map(lambda leaf: leaf[index], memory)


def step(encoder: Encoder, optimizer: optax.GradientTransformation) -> Callable[..., tuple[PyTree, PyTree]]:
    """Make one step of training, (params, optimizer state, rows) -> both, on mean w (r - f(x))^2."""

    def loss(params: PyTree, rows: Rows) -> Float[Array, ""]:
        return jnp.mean(rows.weight * optax.squared_error(encoder.encode(params, rows)[1], rows.reward))

    def advance(params: PyTree, state: PyTree, rows: Rows) -> tuple[PyTree, PyTree]:
        grads = jax.grad(loss)(params, rows)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            change, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, change), state

    return advance


def fold(
    encoder: Encoder,
    params: PyTree,
    memory: Rows,
    stored: Int[Array, ""],
    empty: Known,
    learn: Callable[[Any, Array, Array, Array, Array], Any],
) -> Known:
    """Teach all stored rows to `empty`, the K posteriors before the first one, in blocks of one model each.

    `learn(one posterior, model 0, z, reward, weight)`; a block costs as if there were no other models.
    """
    size = memory.reward.shape[0]
    there = jnp.arange(size, dtype=jnp.int32) < stored
    model = jnp.where(there & (memory.weight > 0), memory.model, encoder.num_models)
    order = jnp.argsort(model).astype(jnp.int32)
    count = jnp.sum(model[:, None] == jnp.arange(encoder.num_models, dtype=jnp.int32)[None], axis=0, dtype=jnp.int32)
    block = min(BLOCK, size)
    first, end = jnp.cumsum(count) - count, jnp.cumsum(-(-count // block))

    def one(number: Int[Array, ""], known: Any) -> Any:
        k = jnp.minimum(jnp.sum(end <= number, dtype=jnp.int32), encoder.num_models - 1)
        inside = (number - (end[k] + (-count[k] // block))) * block + jnp.arange(block, dtype=jnp.int32)
        rows = take(memory, order[jnp.minimum(first[k] + inside, size - 1)])
        weight = jnp.where(inside < count[k], rows.weight, 0.0)
        z, _ = encoder.encode(params, rows._replace(model=jnp.full(block, k)))
        part = jax.tree.map(lambda leaf: leaf[k][None], known)
        part = learn(part, jnp.zeros(block, jnp.int32), z, rows.reward, weight)
        return jax.tree.map(lambda leaf, new: leaf.at[k].set(new[0]), known, part)

    return jax.lax.fori_loop(0, -(-stored // block) + encoder.num_models, one, empty)
