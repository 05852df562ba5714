"""The replay buffer against a list in Python: what it keeps, what it draws, and what it refuses."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core import memory
from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.agents.models import replay
from jaxbandit.types import Spec
from tests.support import assert_counts

CAPACITY = 5
EXAMPLE = {"x": jax.ShapeDtypeStruct((2,), jnp.float32), "n": jax.ShapeDtypeStruct((), jnp.int32)}
BUFFERED = [agent for agent, factory in AGENTS.items() if "buffer_size" in hyperparameters(factory)]


def rows(numbers) -> dict:
    numbers = np.asarray(numbers, np.int32)
    return {"x": jnp.asarray(np.stack([numbers, -numbers], axis=1), jnp.float32), "n": jnp.asarray(numbers)}


def stored(buffer: replay.Replay) -> list[int]:
    """Numbers of the rows, oldest first."""
    size, slot = int(buffer.stored), int(buffer.slot)
    numbers = np.asarray(buffer.examples["n"])
    np.testing.assert_array_equal(buffer.examples["x"][:, 0], numbers)
    return list(np.roll(numbers, -slot) if size == CAPACITY else numbers[:size])


@pytest.mark.parametrize("batch", [1, 3, 5, 13])
def test_it_keeps_the_latest_rows_whose_weight_is_not_zero(batch):
    rng, add = np.random.default_rng(batch), jax.jit(replay.add)
    buffer, told = replay.init(EXAMPLE, CAPACITY), []
    for step in range(12):
        numbers = 100 * (step + 1) + np.arange(batch)
        weight = rng.choice([0.0, 0.5, 2.0], batch).astype(np.float32)
        buffer = add(buffer, rows(numbers), weight)
        told += [n for n, w in zip(numbers, weight, strict=True) if w]
        assert stored(buffer) == told[-CAPACITY:]


def test_lanes_with_other_weights_keep_what_each_keeps_alone():
    weight = jnp.asarray(np.random.default_rng(0).integers(0, 2, (4, 3)), jnp.float32)

    def fill(weight):
        buffer = replay.add(replay.init(EXAMPLE, CAPACITY), rows([1, 2, 3]), weight)
        return replay.add(buffer, rows([4, 5, 6]), 1 - weight)

    together = jax.vmap(fill)(weight)
    for lane in range(4):
        jax.tree.map(np.testing.assert_array_equal, jax.tree.map(lambda x, i=lane: x[i], together), fill(weight[lane]))


@pytest.mark.parametrize("count", [3, 8])
def test_a_minibatch_is_drawn_uniformly_of_what_is_stored(count):
    buffer = replay.add(replay.init(EXAMPLE, CAPACITY), rows(range(1, count + 1)), jnp.ones(count))
    drawn = replay.sample(jax.random.key(0), buffer, 20_000)
    np.testing.assert_array_equal(drawn["x"][:, 0], drawn["n"])
    held = np.isin(np.arange(count + 1), stored(buffer))
    assert_counts(np.bincount(drawn["n"], minlength=count + 1), held / held.sum())


def test_an_empty_buffer_gives_rows_of_zeros():
    drawn = replay.sample(jax.random.key(0), replay.init(EXAMPLE, CAPACITY), 4)
    assert all(not np.any(leaf) for leaf in jax.tree.leaves(drawn))


def test_a_buffer_too_large_for_memory_is_refused():
    fits = memory.MOST_BYTES // 12
    jax.eval_shape(partial(replay.init, EXAMPLE, fits))
    with pytest.raises(InputError, match=rf"^capacity is {fits + 1}: .*allowed: at most {fits} rows \(1 GiB\)$"):
        replay.init(EXAMPLE, fits + 1)


@pytest.mark.parametrize("arm_dim", [0, 3])
@pytest.mark.parametrize("agent", BUFFERED)
def test_a_factory_refuses_such_a_buffer_before_anything_is_traced(agent, arm_dim):
    with pytest.raises(InputError, match=r"^buffer_size is 100000000: rows of \d+ bytes .*allowed: at most \d+ rows"):
        AGENTS[agent](Spec(4, 2, arm_dim), buffer_size=100_000_000)
