"""Flax modules that map contexts to a predicted reward f_a for every arm. They hold no losses and no policies.

Given a dropout rate, every user meets a thinned network of their own: units of the user tower and of the common tower
are masked once per user, the same for all arms. The arm tower is never masked, so that an item is encoded once.
Asked for the noise too, a network returns [f, v]: v, the log variance of a reward, has a head of its own on the layers
that f uses. Parameters of f are the same with it and without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, doc
from flax import linen as nn
from jaxtyping import Array, Float, Key

from jaxbandit._core import platforms
from jaxbandit.types import Context, Spec, Traced, offered_arms, offered_rows, small_catalogue

# A reward without noise drives v to -inf: exp(-v) of float32 would end in inf. Standard deviations are e^-5 to e^5.
LOG_VARIANCE_BOUND = 10.0
VECTOR = 128  # lanes of a TPU's vector register


@dataclass(frozen=True)
class NetworkSettings:
    """The shape of a network of rewards."""

    network: Annotated[
        Literal["common_tower", "dot_product"],
        doc("how user and arm meet (per-arm environments; fixed arms: user -> K values)"),
    ] = "common_tower"
    user_layers: Annotated[
        tuple[int, ...], doc("widths of the user tower, and of the whole network where arms are fixed")
    ] = (64, 32)
    arm_layers: Annotated[tuple[int, ...], doc("widths of the arm tower")] = (64, 32)
    common_layers: Annotated[tuple[int, ...], doc("widths of the common tower")] = (32,)
    embedding_dim: Annotated[int, Ge(1), doc("width of both embeddings of dot_product")] = 32


class Tower(nn.Module):
    """Dense layers with ReLU after each, and dropout after that where a rate is given."""

    layers: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"], dropout_rate: Traced | None = None) -> Float[Array, "*n e"]:
        """Encode the last axis."""
        for width in self.layers:
            x = nn.relu(nn.Dense(width)(x))
            if dropout_rate is not None:
                x = thinned(self.make_rng("dropout"), x, dropout_rate)
        return x


class TowerOfPairs(nn.Module):
    """What a `Tower` of these parameters makes of [user; arm], arms first; the user is multiplied once for all arms."""

    layers: Sequence[int]

    @nn.compact
    def __call__(
        self, user: Float[Array, "B c"], arms: Float[Array, "K B d"], dropout_rate: Traced | None = None
    ) -> Float[Array, "K B e"]:
        """Encode each pair."""
        x = arms
        for i, width in enumerate(self.layers):
            x = nn.relu(nn.Dense(width, name=f"Dense_{i}")(x) if i else PairDense(width, name="Dense_0")(user, arms))
            if dropout_rate is not None:
                x = thinned(self.make_rng("dropout"), x.swapaxes(0, 1), dropout_rate).swapaxes(0, 1)
        return x


class PairDense(nn.Module):
    """A dense layer of [user; arm] with the parameters of `nn.Dense`."""

    width: int

    @nn.compact
    def __call__(self, user: Float[Array, "B c"], arms: Float[Array, "K B d"]) -> Float[Array, "K B e"]:
        """Multiply each part with its rows of the kernel."""
        cut = user.shape[-1]
        kernel = self.param("kernel", nn.linear.default_kernel_init, (cut + arms.shape[-1], self.width))
        bias = self.param("bias", nn.initializers.zeros_init(), (self.width,))
        of_user = user @ kernel[:cut] + bias[None]
        number, batch = arms.shape[:2]
        rows = arms.reshape(number * batch, -1) @ kernel[cut:]
        if batch > VECTOR:
            return rows.reshape(number, batch, -1) + of_user[None]
        # A product puts the users where those of the arms are; a broadcast would be copied there.
        return (rows + jnp.tile(jnp.eye(batch), (number, 1)) @ of_user).reshape(number, batch, -1)


class FixedArms(nn.Module):
    """user -> K values: a tower and one output for each arm."""

    layers: Sequence[int]
    num_actions: int

    @nn.compact
    def __call__(
        self, context: Context, dropout_rate: Traced | None = None, noise: bool = False
    ) -> Float[Array, "*heads B K"]:
        """Predict the reward of every arm."""
        user = Tower(self.layers)(context.user, dropout_rate)
        return heads(lambda: nn.Dense(self.num_actions)(user), noise)


class CommonTower(nn.Module):
    """f(concat(g(user), h(arm))): a tower for each side and a common one on top."""

    user_layers: Sequence[int]
    arm_layers: Sequence[int]
    common_layers: Sequence[int]

    @nn.compact
    def __call__(
        self, context: Context, dropout_rate: Traced | None = None, noise: bool = False
    ) -> Float[Array, "*heads B K"]:
        """Predict the reward of every offered arm."""
        user = Tower(self.user_layers)(context.user, dropout_rate)
        arm_tower = Tower(self.arm_layers)
        if self.common_layers and arms_first(context):
            arms = offered_by_arm(context)
            arms = arm_tower(arms.reshape(-1, arms.shape[-1])).reshape(*arms.shape[:2], -1)
            top = TowerOfPairs(self.common_layers, name="Tower_2")(user, arms, dropout_rate)
            return heads(lambda: nn.Dense(1)(top)[..., 0].T, noise)
        arms = encode_arms(arm_tower, context)
        user = jnp.broadcast_to(user[:, None], (*arms.shape[:2], user.shape[-1]))
        top = Tower(self.common_layers)(jnp.concatenate([user, arms], axis=-1), dropout_rate)
        return heads(lambda: nn.Dense(1)(top)[..., 0], noise)


class DotProduct(nn.Module):
    """<g(user), h(arm)> of two towers with a linear last layer of equal width."""

    user_layers: Sequence[int]
    arm_layers: Sequence[int]
    embedding_dim: int

    @nn.compact
    def __call__(
        self, context: Context, dropout_rate: Traced | None = None, noise: bool = False
    ) -> Float[Array, "*heads B K"]:
        """Predict the reward of every offered arm."""
        user, arm_tower = Tower(self.user_layers)(context.user, dropout_rate), Tower(self.arm_layers)

        def head() -> Float[Array, "B K"]:
            users = nn.Dense(self.embedding_dim)(user)
            arms = encode_arms(nn.Sequential([arm_tower, nn.Dense(self.embedding_dim)]), context)
            return jnp.sum(users[:, None] * arms, axis=-1)

        return heads(head, noise)


def heads(head: Callable[[], Float[Array, "B K"]], noise: bool) -> Float[Array, "*heads B K"]:
    """Predict f by the head that `head` makes, and where noise is asked for [f, v], v by another head, bounded."""
    f = head()
    if not noise:
        return f
    # tanh and not clip, whose gradient is 0 outside: v could not come back.
    return jnp.stack([f, LOG_VARIANCE_BOUND * jnp.tanh(head() / LOG_VARIANCE_BOUND)])


def make_network(spec: Spec, shape: NetworkSettings) -> nn.Module:
    """Make the module that fits the spec: context -> predicted rewards [B, K], and log variances if asked."""
    if spec.arm_dim == 0:
        return FixedArms(shape.user_layers, spec.num_actions)
    if shape.network == "dot_product":
        return DotProduct(shape.user_layers, shape.arm_layers, shape.embedding_dim)
    return CommonTower(shape.user_layers, shape.arm_layers, shape.common_layers)


def widest(spec: Spec, shape: NetworkSettings) -> int:
    """Width of the widest hidden layer of the network that `make_network` makes of the same settings."""
    if spec.arm_dim == 0:
        return max(shape.user_layers, default=1)
    top = (shape.embedding_dim,) if shape.network == "dot_product" else shape.common_layers
    return max((*shape.user_layers, *shape.arm_layers, *top), default=1)


def example(spec: Spec) -> Context:
    """Make a context of one user, all zeros, by which a module makes its parameters."""
    arms = jnp.zeros((1, spec.num_actions, spec.arm_dim)) if spec.arm_dim else None
    return Context(user=jnp.zeros((1, spec.user_dim)), user_id=jnp.zeros(1, jnp.int32), arms=arms)


def thinned(key: Key[Array, ""], x: Float[Array, "B *n e"], rate: Traced) -> Float[Array, "B *n e"]:
    """Set each of the e units of a user to zero with probability `rate`, and scale the others up by 1 / (1 - rate)."""
    mask = jax.random.bernoulli(key, 1 - rate, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]))
    return jnp.where(mask, x / (1 - rate), 0.0)


def encode_arms(tower: nn.Module, context: Context) -> Float[Array, "B K e"]:
    """Encode the offered arms; each catalogue item once where that is less work."""
    catalogue = small_catalogue(context, 1)
    if catalogue is None:
        return tower(offered_arms(context))
    arms = offered_rows(context, tower(catalogue.features))
    return jnp.broadcast_to(arms, (context.user.shape[0], *arms.shape[1:]))


def arms_first(context: Context) -> bool:
    """Whether pairs of a user and an arm come with arms as the first axis: on a TPU, where users then fill vectors.

    Not those of one arm each, of which `neural_ucb` looks into the dense layers.
    """
    offered = context.arms if context.arm_id is None else context.arm_id
    if offered is None or offered.shape[1] == 1 or small_catalogue(context, 1) is not None:
        return False
    return platforms.choose(lambda: False, tpu=lambda: True)()


def offered_by_arm(context: Context) -> Float[Array, "K B Da"]:
    """Features of the offered arms, arms first."""
    if context.catalogue is None or context.arm_id is None:
        return offered_arms(context).swapaxes(0, 1)
    return context.catalogue.features[context.arm_id.T]
