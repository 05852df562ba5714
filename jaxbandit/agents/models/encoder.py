"""A network whose last hidden layer z(x) feeds a linear posterior, and the stored interactions that train both."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxbandit._core.errors import InputError
from jaxbandit._core.integers import ceil_div
from jaxbandit._core.memory import check_size
from jaxbandit._core.selection import entries
from jaxbandit.agents.models import features, replay
from jaxbandit.agents.models.networks import Tower
from jaxbandit.agents.models.replay import Replay
from jaxbandit.agents.models.training import MeanLoss
from jaxbandit.types import Context, Interaction, Spec, chosen_arms, offered_arms

BLOCK = 1024  # stored examples of one model that are encoded at once
Known = TypeVar("Known")


class Examples(NamedTuple):
    """Arms that were pulled: what the network saw of them, the linear model they belong to, and what they paid."""

    x: Float[Array, "n Dx"]
    model: Int[Array, " n"]
    reward: Float[Array, " n"]
    weight: Float[Array, " n"]


Teach = Callable[[Known, Examples, Bool[Array, " n"]], Known]


class Encoder(NamedTuple):
    """A network as pure functions. Fixed arms have a linear model each, arms with features share one."""

    num_models: int
    dim: int  # of z
    init: Callable[[Key[Array, ""]], PyTree]
    memory: Callable[[], Replay]  # of examples, and empty
    examples: Callable[[Interaction], Examples]
    offered: Callable[[PyTree, Context], tuple[Array, Array]]  # z [B, d] or [B, K, d], and values [B, K]
    encode: Callable[[PyTree, Examples], tuple[Array, Array]]  # z [n, d], and the value of each example [n]


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
    example = Examples(jnp.zeros(spec.user_dim + spec.arm_dim), jnp.int32(0), jnp.float32(0), jnp.float32(0))
    check_size(example, buffer_size, "buffer_size")
    network = Network(layers, 1 if spec.arm_dim else spec.num_actions)

    def apply(params: PyTree, x: Array) -> tuple[Array, Array]:
        with jax.default_matmul_precision("highest"):  # z goes into a solve
            return network.apply(params, x)  # type: ignore[return-value]

    def examples(seen: Interaction) -> Examples:
        if not spec.arm_dim:
            return Examples(seen.context.user, seen.action, seen.reward, seen.weight)
        x = features.joint("concat", False, seen.context.user, chosen_arms(seen.context, seen.action))
        return Examples(x, jnp.zeros_like(seen.action), seen.reward, seen.weight)

    def offered(params: PyTree, context: Context) -> tuple[Array, Array]:
        if not spec.arm_dim:
            return apply(params, context.user)
        pairs = features.joint("concat", False, context.user[:, None], offered_arms(context))
        z, values = apply(params, pairs)
        return z, values[..., 0]

    def encode(params: PyTree, examples: Examples) -> tuple[Array, Array]:
        z, values = apply(params, examples.x)
        return z, entries(values, examples.model)

    def init(key: Key[Array, ""]) -> PyTree:
        return network.init(key, jnp.zeros((1, spec.user_dim + spec.arm_dim)))

    return Encoder(
        network.num_models, layers[-1], init, lambda: replay.init(example, buffer_size), examples, offered, encode
    )


def mean_loss(encoder: Encoder) -> MeanLoss[Examples]:
    """Make the loss of training, mean w (r - f)^2."""

    def loss(_: Key[Array, ""], params: PyTree, examples: Examples) -> Float[Array, ""]:
        return jnp.mean(examples.weight * optax.squared_error(encoder.encode(params, examples)[1], examples.reward))

    return loss


def fold(
    encoder: Encoder,
    params: PyTree,
    memory: Replay,
    seen: Interaction,
    empty: Known,
    learn: Callable[[Known, Array, Array, Array, Array], Known],
) -> Known:
    """Teach all examples stored so far to `empty`, the K posteriors before the first one, in blocks of one model each.

    `learn(one posterior, model 0, z, reward, weight)`; a block costs as if there were no other models. The number of
    blocks follows from the round, which is the same in all lanes, where what they have stored may differ.
    """
    size, batch = memory.examples.reward.shape[0], seen.reward.shape[0]
    most = jnp.minimum(jnp.minimum(seen.round + 1, ceil_div(size, batch)) * batch, size)
    block, model = min(BLOCK, size), jnp.zeros(min(BLOCK, size), jnp.int32)

    def teach(part: Known, examples: Examples, inside: Bool[Array, " n"]) -> Known:
        z, _ = encoder.encode(params, examples)
        return learn(part, model, z, examples.reward, jnp.where(inside, examples.weight, 0.0))

    if encoder.num_models == 1:  # its examples lie side by side
        return jax.lax.fori_loop(0, _blocks(most, block), partial(_next_block, memory, teach, block), empty)
    next_block = _blocks_of_models(memory, teach, block, encoder.num_models)
    return jax.lax.fori_loop(0, _blocks(most, block) + encoder.num_models, next_block, empty)


def _next_block(memory: Replay, teach: Teach[Known], block: int, number: Int[Array, ""], known: Known) -> Known:
    """Teach the block of this number to the only model; the last one may begin with examples of the one before it."""
    start = jnp.minimum(number * block, memory.examples.reward.shape[0] - block)
    examples = jax.tree.map(lambda leaf: jax.lax.dynamic_slice_in_dim(leaf, start, block), memory.examples)
    place = start + jnp.arange(block, dtype=jnp.int32)
    return teach(known, examples, (place >= number * block) & (place < memory.stored))


def _blocks_of_models(
    memory: Replay, teach: Teach[Known], block: int, num_models: int
) -> Callable[[Int[Array, ""], Known], Known]:
    """Sort what is stored by its model, and return how to teach the block of a number."""
    size = memory.examples.reward.shape[0]
    model = jnp.where(jnp.arange(size, dtype=jnp.int32) < memory.stored, memory.examples.model, num_models)
    order = jnp.argsort(model).astype(jnp.int32)
    count = jnp.sum(model[:, None] == jnp.arange(num_models, dtype=jnp.int32)[None], axis=0, dtype=jnp.int32)
    blocks = _blocks(count, block)
    first, end = jnp.cumsum(count) - count, jnp.cumsum(blocks)

    def one(number: Int[Array, ""], known: Known) -> Known:
        k = jnp.minimum(jnp.sum(end <= number, dtype=jnp.int32), num_models - 1)
        inside = (number - (end[k] - blocks[k])) * block + jnp.arange(block, dtype=jnp.int32)
        examples = jax.tree.map(lambda leaf: leaf[order[jnp.minimum(first[k] + inside, size - 1)]], memory.examples)
        part = jax.tree.map(lambda leaf: leaf[k][None], known)
        part = teach(part, examples._replace(model=jnp.full(block, k)), inside < count[k])
        return jax.tree.map(lambda leaf, new: leaf.at[k].set(new[0]), known, part)

    return one


def _blocks(count: Int[Array, "*K"], size: int) -> Int[Array, "*K"]:
    """Blocks of this size that hold `count` examples."""
    return (count + (size - 1)) // size
