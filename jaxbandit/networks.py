"""Flax modules that map contexts to a predicted reward for every arm. They hold no losses and no policies."""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxbandit import features
from jaxbandit.types import Context


class Tower(nn.Module):
    """Dense layers with ReLU after each."""

    layers: Sequence[int]

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n e"]:
        """Encode the last axis."""
        for width in self.layers:
            x = nn.relu(nn.Dense(width)(x))
        return x


class FixedArms(nn.Module):
    """user -> K values: a tower and one output for each arm."""

    layers: Sequence[int]
    num_actions: int

    @nn.compact
    def __call__(self, context: Context) -> Float[Array, "B K"]:
        """Predict the reward of every arm."""
        return nn.Dense(self.num_actions)(Tower(self.layers)(context.user))


class CommonTower(nn.Module):
    """f(concat(g(user), h(arm))): a tower for each side and a common one on top."""

    user_layers: Sequence[int]
    arm_layers: Sequence[int]
    common_layers: Sequence[int]

    @nn.compact
    def __call__(self, context: Context) -> Float[Array, "B K"]:
        """Predict the reward of every offered arm."""
        user = Tower(self.user_layers)(context.user)
        arms = encode_arms(Tower(self.arm_layers), context)
        user = jnp.broadcast_to(user[:, None], (*arms.shape[:2], user.shape[-1]))
        top = Tower(self.common_layers)(jnp.concatenate([user, arms], axis=-1))
        return nn.Dense(1)(top)[..., 0]


class DotProduct(nn.Module):
    """<g(user), h(arm)> of two towers with a linear last layer of equal width."""

    user_layers: Sequence[int]
    arm_layers: Sequence[int]
    embedding_dim: int

    @nn.compact
    def __call__(self, context: Context) -> Float[Array, "B K"]:
        """Predict the reward of every offered arm."""
        user = nn.Dense(self.embedding_dim)(Tower(self.user_layers)(context.user))
        arms = encode_arms(nn.Sequential([Tower(self.arm_layers), nn.Dense(self.embedding_dim)]), context)
        return jnp.sum(user[:, None] * arms, axis=-1)


def encode_arms(tower: nn.Module, context: Context) -> Float[Array, "B K e"]:
    """Encode the offered arms; each catalogue item once where that is less work."""
    catalogue, arm_id = context.catalogue, context.arm_id
    if catalogue is None:
        return tower(features.offered(context))
    if arm_id is None:
        items = tower(catalogue.features)
        return jnp.broadcast_to(items[None], (context.user.shape[0], *items.shape))
    if catalogue.features.shape[0] <= arm_id.size:
        return tower(catalogue.features)[arm_id]
    return tower(features.offered(context))
