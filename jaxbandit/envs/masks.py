"""A varying number of arms around any world: masks over arms that a user is not offered. It changes no rewards."""

from dataclasses import replace
from typing import Annotated, TypeVar

import jax.numpy as jnp
from annotated_types import Ge, doc
from jaxtyping import Array, Key

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError
from jaxbandit.envs import sampling
from jaxbandit.types import Context, Environment

Params = TypeVar("Params")
State = TypeVar("State")
MinActions = Annotated[
    int, Ge(0), doc("offer each user a random part of the arms, so many of them at least; 0: all arms")
]


def offer_some(environment: Environment[Params, State], min_actions: int) -> Environment[Params, State]:
    """Mask all but n random arms of each user, n ~ U{min_actions .. K}; 0 leaves the world as it is.

    Raises:
        InputError: more than there are arms.
    """
    num_actions = environment.spec.num_actions
    if min_actions == 0:
        return environment
    if min_actions > num_actions:
        raise InputError(f"min_actions is {min_actions} of {num_actions} arms; allowed: 0 to {num_actions}")

    def observe(key: Key[Array, ""], params: Params, state: State, batch_size: int) -> tuple[Context, Array]:
        observe_key, count_key, order_key = prng.split(key, 3)
        context, means = environment.observe(observe_key, params, state, batch_size)
        count = min_actions + sampling.uniform(count_key, num_actions - min_actions + 1, batch_size)
        place = jnp.argsort(prng.bits(order_key, means.shape), axis=1)  # a random permutation for each user
        return context._replace(mask=place < count[:, None]), means

    return replace(environment, observe=observe)
