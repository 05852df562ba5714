"""A network whose last hidden layer z(x) feeds a linear posterior, and the stored interactions that train both."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit._core.errors import InputError
from jaxbandit._core.memory import check_size
from jaxbandit.agents.models import features, replay
from jaxbandit.agents.models.networks import Tower
from jaxbandit.agents.models.replay import Replay
from jaxbandit.agents.models.training import MeanLoss
from jaxbandit.types import Context, Interaction, Spec, chosen_arms, offered_arms

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
    memory: Callable[[], Replay]  # of rows, and empty
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


def make_encoder(spec: Spec, layers: tuple[int, ...], buffer_size: int) -> Encoder:
    """Make the network of a user where arms are fixed, of [user; arm] where they have features.

    Raises:
        InputError: no layer, or the buffer would take too much memory.
    """
    if not layers:
        raise InputError("hidden_layers is (); allowed: at least one whole number > 0, as 64,32 or 64x32")
    row = Rows(jnp.zeros(spec.user_dim + spec.arm_dim), jnp.int32(0), jnp.float32(0), jnp.float32(0))
    check_size(row, buffer_size, "buffer_size")
    network = Network(layers, 1 if spec.arm_dim else spec.num_actions)

    def apply(params: PyTree, x: Array) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):  # z goes into a solve
            return network.apply(params, x)  # type: ignore[return-value]

    def rows(seen: Interaction) -> Rows:
        if not spec.arm_dim:
            return Rows(seen.context.user, seen.action, seen.reward, seen.weight)
        x = features.joint("concat", False, seen.context.user, chosen_arms(seen.context, seen.action))
        return Rows(x, jnp.zeros_like(seen.action), seen.reward, seen.weight)

    def offered(params: PyTree, context: Context) -> tuple[Array, Array]:
        if not spec.arm_dim:
            return apply(params, context.user)
        pairs = features.joint("concat", False, context.user[:, None], offered_arms(context))
        z, values = apply(params, pairs)
        return z, values[..., 0]

    def encode(params: PyTree, rows: Rows) -> tuple[Array, Array]:
        z, values = apply(params, rows.x)
        return z, jnp.take_along_axis(values, rows.model[:, None], axis=1, mode="clip")[:, 0]

    def init(key: Key[Array, ""]) -> PyTree:
        return network.init(key, jnp.zeros((1, spec.user_dim + spec.arm_dim)))

    return Encoder(network.num_models, layers[-1], init, lambda: replay.init(row, buffer_size), rows, offered, encode)


def mean_loss(encoder: Encoder) -> MeanLoss[Rows]:
    """Make the loss of training, mean w (r - f)^2."""

    def loss(_: Key[Array, ""], params: PyTree, rows: Rows) -> Float[Array, ""]:
        return jnp.mean(rows.weight * optax.squared_error(encoder.encode(params, rows)[1], rows.reward))

    return loss


def fold(
    encoder: Encoder,
    params: PyTree,
    memory: Replay,
    seen: Interaction,
    empty: Known,
    learn: Callable[[Known, Array, Array, Array, Array], Known],
) -> Known:
    """Teach all rows stored so far to `empty`, the K posteriors before the first one, in blocks of one model each.

    `learn(one posterior, model 0, z, reward, weight)`; a block costs as if there were no other models. The number of
    blocks follows from the round, which all lanes share: what lanes stored may differ.
    """
    size, batch = memory.rows.reward.shape[0], seen.reward.shape[0]
    model = jnp.where(jnp.arange(size, dtype=jnp.int32) < memory.stored, memory.rows.model, encoder.num_models)
    order = jnp.argsort(model).astype(jnp.int32)
    count = jnp.sum(model[:, None] == jnp.arange(encoder.num_models, dtype=jnp.int32)[None], axis=0, dtype=jnp.int32)
    block = min(BLOCK, size)
    first, end = jnp.cumsum(count) - count, jnp.cumsum(-(-count // block))

    def one(number: Int[Array, ""], known: Known) -> Known:
        k = jnp.minimum(jnp.sum(end <= number, dtype=jnp.int32), encoder.num_models - 1)
        inside = (number - (end[k] + (-count[k] // block))) * block + jnp.arange(block, dtype=jnp.int32)
        rows = jax.tree.map(lambda leaf: leaf[order[jnp.minimum(first[k] + inside, size - 1)]], memory.rows)
        weight = jnp.where(inside < count[k], rows.weight, 0.0)
        z, _ = encoder.encode(params, rows._replace(model=jnp.full(block, k)))
        part = jax.tree.map(lambda leaf: leaf[k][None], known)
        part = learn(part, jnp.zeros(block, jnp.int32), z, rows.reward, weight)
        return jax.tree.map(lambda leaf, new: leaf.at[k].set(new[0]), known, part)

    most = jnp.minimum(jnp.minimum(seen.round + 1, -(-size // batch)) * batch, size)
    return jax.lax.fori_loop(0, -(-most // block) + encoder.num_models, one, empty)
