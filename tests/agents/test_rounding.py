"""What float32 costs over 100,000 rounds: agents that learn in closed form, against the same updates in float64.

The float32 agent plays; its actions and what it kept in mind are then learned again in float64. Networks are left out:
their training amplifies any rounding.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.types import Agent, Context, Interaction, Spec

pytestmark = pytest.mark.slow

ROUNDS, ARMS, DIM = 100_000, 4, 3
SPECS = {
    "fixed": Spec(ARMS, DIM, 0, (0.0, 1.0)),
    "features": Spec(ARMS, DIM, DIM, (0.0, 1.0)),
    "slates": Spec(ARMS, DIM, DIM, (0.0, 1.0), slate_size=2),
}
# A sum of n numbers of one sign, each addition rounded by half of 6e-8 at random, is off by 1e-8 sqrt(n) = 4e-6 of
# itself; batches of several sums, and solutions, amplify it. Measured: at most 7e-5, of the gains of a mixture.
BOUND = 2e-4


def made(agent: str, spec: Spec) -> Agent | None:
    """The agent at its defaults; None where it does not learn in closed form, or not in such a world."""
    settings = hyperparameters(AGENTS[agent])
    if not settings or "learning_rate" in settings:
        return None
    try:
        policy = AGENTS[agent](spec)
    except InputError:
        return None
    return policy if policy.slates == (spec.slate_size > 1) else None


def rounds(spec: Spec) -> tuple[np.ndarray, ...]:
    """Users, arms, and what each arm would pay, for each round."""
    rng = np.random.default_rng(0)
    user = rng.standard_normal((ROUNDS, 1, DIM))
    arms = rng.standard_normal((ROUNDS, 1, ARMS, DIM))
    pays = (rng.random((ROUNDS, 1, ARMS)) < 1 / (1 + np.exp(-user @ np.eye(DIM, ARMS)))).astype(np.float64)
    return user, arms, pays


def interaction(spec: Spec, row, number, action, memory) -> Interaction:
    user, arms, pays = row
    context = Context(user, jnp.zeros(1, jnp.int32), arms=arms if spec.arm_dim else None)
    reward = jnp.take_along_axis(pays, action.reshape(1, -1), axis=1).reshape(action.shape)
    return Interaction(context, action, reward, jnp.ones(1, pays.dtype), number, memory)


def play(spec: Spec, policy: Agent, rows):
    """State at the end, and actions and memory of each round."""

    def one_round(state, now):
        row, number = now
        key = jax.random.fold_in(jax.random.key(1), number)
        context = interaction(spec, row, number, jnp.zeros(1, jnp.int32), ()).context
        decision = policy.select(key, state, context)
        return policy.update(key, state, interaction(spec, row, number, *decision)), decision

    return jax.lax.scan(one_round, policy.init(jax.random.key(0)), (rows, jnp.arange(ROUNDS, dtype=jnp.int32)))


def learn(spec: Spec, policy: Agent, rows, decisions):
    """State at the end of the same rounds."""

    def one_round(state, now):
        row, number, decision = now
        return policy.update(jax.random.key(1), state, interaction(spec, row, number, *decision)), None

    numbers = jnp.arange(ROUNDS, dtype=jnp.int32)
    return jax.lax.scan(one_round, policy.init(jax.random.key(0)), (rows, numbers, decisions))[0]


PAIRS = [(agent, kind) for kind, spec in SPECS.items() for agent in AGENTS if made(agent, spec)]


@pytest.mark.parametrize(("agent", "kind"), PAIRS)
def test_100_000_rounds_in_float32_end_where_float64_does(agent, kind):
    spec = SPECS[kind]
    rows = rounds(spec)
    state, decisions = jax.jit(partial(play, spec, made(agent, spec)))([x.astype(np.float32) for x in rows])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        exact = [np.asarray(x, np.float64) if x.dtype == np.float32 else x for x in jax.tree.leaves(decisions)]
        decisions = jax.tree.unflatten(jax.tree.structure(decisions), exact)
        truth = jax.jit(partial(learn, spec, made(agent, spec)))(rows, decisions)
        assert any(leaf.dtype == np.float64 for leaf in jax.tree.leaves(truth))
    for got, expected in zip(jax.tree.leaves(state), jax.tree.leaves(truth), strict=True):
        np.testing.assert_allclose(got, expected, rtol=0, atol=BOUND * max(1.0, float(np.max(np.abs(expected)))))
