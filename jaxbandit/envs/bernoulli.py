"""The bandit without contexts: arms that pay 1 with fixed probabilities. It knows no other rewards."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Interval, doc
from jaxtyping import Array, Float, Key

from jaxbandit._core.arrays import floats
from jaxbandit._core.errors import InputError
from jaxbandit.envs.outcome import expected, outcome
from jaxbandit.types import Context, Environment, Outcome, Spec

MEANS = (0.1, 0.2, 0.3, 0.45, 0.5)


class BernoulliParams(NamedTuple):
    """Probability of a reward of each arm."""

    means: Float[Array, " K"]


def bernoulli(
    *,
    means: Annotated[tuple[float, ...], Interval(ge=0, le=1), doc("probability of a reward of each arm")] = MEANS,
) -> tuple[Environment[BernoulliParams, tuple[()]], BernoulliParams]:
    """Pay r ~ Bernoulli(p_a), p_a the probability of arm a; all users are alike: their one feature is the constant 1.

    Source: Lattimore & Szepesvári 2020, "Bandit algorithms", section 4.1, https://doi.org/10.1017/9781108571401.

    Raises:
        InputError: fewer than two arms.
    """
    if len(means) < 2:
        raise InputError(
            f"means is {', '.join(map(str, means)) or 'empty'}; allowed: at least 2 numbers, one for each arm"
        )

    def observe(
        key: Key[Array, ""], params: BernoulliParams, state: tuple[()], batch_size: int
    ) -> tuple[Context, Array]:
        context = Context(user=jnp.ones((batch_size, 1)), user_id=jnp.arange(batch_size))
        return context, jnp.broadcast_to(params.means[None], (batch_size, len(means)))

    def respond(
        key: Key[Array, ""], params: BernoulliParams, state: tuple[()], context: Context, means: Array, action: Array
    ) -> tuple[tuple[()], Outcome]:
        mean = expected(means, action)
        reward = (jax.random.uniform(key, mean.shape) < mean).astype(mean.dtype)
        return state, outcome(context, means, action, reward)

    spec = Spec(num_actions=len(means), user_dim=1, arm_dim=0, reward_range=(0.0, 1.0))
    params = BernoulliParams(floats(means))
    return Environment(spec, lambda key, params: (), observe, respond), params
