import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax

from jaxbandit.agents import exploration
from tests.support import assert_counts, users

N = 20_000  # users, and so draws, of one call


def frequencies(rule, scores: list[float], mask: list[bool] | None = None, **arguments) -> np.ndarray:
    """How often a rule takes each arm when N users have the same scores."""
    rows = jnp.tile(jnp.asarray(scores, jnp.float32)[None], (N, 1))
    context = users(N, mask=None if mask is None else np.tile(mask, (N, 1)))
    action = rule(jax.random.key(0), context, rows, **arguments)
    assert action.dtype == jnp.int32
    return np.bincount(np.asarray(action), minlength=len(scores))


def greedy(key, context, scores, **arguments):
    return exploration.greedy(key, exploration.allowed(context, scores), **arguments)


def test_ties_are_broken_uniformly():
    assert_counts(frequencies(greedy, [1, 3, 3, 0, 3]), np.array([0, 1, 1, 0, 1]) / 3)


def test_ties_of_many_arms_are_broken_uniformly_and_independently_of_the_order():
    assert_counts(frequencies(greedy, [1.0] * 100), 1 / 100)
    assert_counts(frequencies(greedy, [float(k % 10 == 3) for k in range(100)])[3::10], 1 / 10)


@pytest.mark.parametrize("num_arms", [1, 2, 20, exploration.FEW_ARMS, exploration.FEW_ARMS + 1, 1000])
def test_every_way_to_compare_arms_takes_the_same_one(num_arms, monkeypatch):
    scores = jnp.asarray(np.random.default_rng(0).integers(0, 4, (100, num_arms)), jnp.float32)
    words = jax.random.bits(jax.random.key(0), (100, 1), jnp.uint32)
    expected = exploration._highest(scores, words)
    np.testing.assert_array_equal(exploration._highest_on_cpu(scores, words), expected)
    monkeypatch.setattr(exploration, "FEW_ARMS", 0)
    np.testing.assert_array_equal(exploration._highest(scores, words), expected)
    np.testing.assert_array_equal(exploration._highest_on_cpu(scores, words), expected)


@pytest.mark.parametrize(("num_arms", "barrier"), [(20, r"s32\[128\]\S*\) reduce\("), (100, r" while\(")])
def test_on_a_cpu_an_arm_is_chosen_by_what_is_not_fused_into_its_uses(num_arms, barrier):
    program = jax.jit(lambda scores: jax.nn.one_hot(exploration.greedy(jax.random.key(0), scores), num_arms))
    assert re.search(barrier, program.lower(jnp.ones((128, num_arms))).compile().as_text())


def test_equal_arms_tie_although_their_scores_are_computed_in_the_same_kernel():
    def choose(user, arms):
        width = jnp.sqrt(jnp.sum(user * user, axis=-1))[:, None]
        return exploration.greedy(jax.random.key(0), user @ arms.T + 0.3 * width * arms[None, :, 0] / 3)

    user = jax.random.normal(jax.random.key(1), (N, 7))
    assert_counts(np.bincount(jax.jit(choose)(user, jnp.full((20, 7), 0.7)), minlength=20), 1 / 20)


def test_ties_first_takes_the_lowest_index():
    assert_counts(frequencies(greedy, [1, 3, 3], ties="first"), np.array([0, 1, 0]))


def test_ties_among_allowed_arms_alone_count():
    assert_counts(frequencies(greedy, [3, 3, 3, 9], [True, False, True, False]), np.array([1, 0, 1, 0]) / 2)


def test_uniform_takes_allowed_arms_equally_often():
    def uniform(key, context, scores):
        return exploration.uniform(key, context, scores.shape[1])

    assert_counts(frequencies(uniform, [0] * 7), np.full(7, 1 / 7))
    assert_counts(frequencies(uniform, [0] * 4, [False, True, True, True]), np.array([0, 1, 1, 1]) / 3)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_epsilon_greedy_explores_all_allowed_arms_including_the_greedy_one(epsilon):
    counts = frequencies(exploration.epsilon_greedy, [0, 2, 1, 9], [True, True, True, False], epsilon=epsilon)
    assert_counts(counts, np.array([epsilon / 3, 1 - epsilon + epsilon / 3, epsilon / 3, 0]))


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_boltzmann_draws_by_softmax(temperature):
    counts = frequencies(exploration.boltzmann, [0, 1, 2, 9], [True, True, True, False], temperature=temperature)
    assert_counts(counts, np.r_[softmax(np.arange(3) / temperature), 0])


def test_boltzmann_gumbel_with_equal_counts_is_a_softmax_of_the_count_root():
    # f + C / sqrt(n) Z with Z Gumbel draws by softmax(f sqrt(n) / C).
    counts = frequencies(exploration.boltzmann_gumbel, [0, 1, 0.5], pulls=jnp.full(3, 4.0), scale=jnp.float32(1.5))
    assert_counts(counts, softmax(np.array([0, 1, 0.5]) * 2 / 1.5))


def test_boltzmann_gumbel_widens_arms_with_few_pulls():
    arguments = {"pulls": jnp.array([10_000.0, 1.0]), "scale": 1.0}
    share = frequencies(exploration.boltzmann_gumbel, [0, 0], **arguments)[1] / N
    # P(Z > 0) = 1 - exp(-1), up to the hundredth of noise on arm 0.
    assert abs(share - (1 - np.exp(-1))) < 0.02


def test_boltzmann_gumbel_takes_arms_that_were_never_pulled_first():
    arguments = {"pulls": jnp.array([5.0, 0.0, 0.0, 0.0]), "scale": 1.0}
    counts = frequencies(exploration.boltzmann_gumbel, [99, 0, 1, 0], [True, True, True, False], **arguments)
    assert_counts(counts, np.array([0, 1, 1, 0]) / 2)


RULES = {
    "greedy": greedy,
    "first": lambda key, context, scores: greedy(key, context, scores, ties="first"),
    "uniform": lambda key, context, scores: exploration.uniform(key, context, scores.shape[1]),
    "epsilon": lambda key, context, scores: exploration.epsilon_greedy(key, context, scores, 0.5),
    "boltzmann": lambda key, context, scores: exploration.boltzmann(key, context, scores, 0.1),
    "gumbel": lambda key, context, scores: exploration.boltzmann_gumbel(
        key, context, scores, (jnp.arange(scores.shape[1]) % 2).astype(jnp.float32), 1.0
    ),
}
COMPILED = {name: jax.jit(rule) for name, rule in RULES.items()}


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_forbidden_arm_is_never_taken(name, data):
    mask = data.draw(st.lists(st.booleans(), min_size=5, max_size=5).filter(any))
    scores = data.draw(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=5, max_size=5))
    context = users(64, mask=np.tile(mask, (64, 1)))
    rows = jnp.tile(jnp.asarray(scores, jnp.float32)[None], (64, 1))
    action = COMPILED[name](jax.random.key(data.draw(st.integers(0, 1000))), context, rows)
    assert np.all(np.asarray(mask)[np.asarray(action)])
