"""The neural linear agents: what a training leaves behind, the ring of rows, both phases of LinUCB, and learning."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.agents.models import encoder as encoding
from jaxbandit.agents.models import replay
from jaxbandit.agents.neural_linear import neural_linear_ts, neural_linucb
from jaxbandit.types import Interaction, Spec
from tests.reference.nig import posterior as textbook
from tests.support import f64, make_agent, normal, one_lane, small_world, users

BATCH, ARMS, DIM, RIDGE = 6, 4, 5, 2.0
KEY = jax.random.key(0)
SMALL = {"hidden_layers": (8, 6), "tikhonov_weight": RIDGE}
TRAINING = {"train_every": 3, "train_steps": 4, "minibatch_size": 8, "buffer_size": 12}
each_kind = pytest.mark.parametrize("arm_dim", [0, DIM], ids=["fixed", "features"])


def seen(round: int, arm_dim: int, weight=(1.0, 2.0, 0.0, 1.0, 0.5, 1.0)) -> Interaction:
    arms = normal(100 + round, BATCH, ARMS, arm_dim) if arm_dim else None
    context = users(BATCH, DIM, arms=arms)._replace(user=normal(200 + round, BATCH, DIM))
    action = jnp.asarray(np.random.default_rng(round).integers(0, ARMS, BATCH), jnp.int32)
    return Interaction(context, action, normal(300 + round, BATCH), jnp.array(weight), jnp.int32(round))


@cache
def compiled(agent: str, arm_dim: int, **settings):
    """Agent, and its compiled update."""
    factory = {"ts": neural_linear_ts, "ucb": neural_linucb}[agent]
    policy = factory(Spec(ARMS, DIM, arm_dim), **SMALL, **(TRAINING if agent == "ts" else {}), **settings)
    return policy, jax.jit(policy.update)


@cache
def after(agent: str, rounds: int, arm_dim: int, **settings):
    """Agent and its state after some rounds."""
    policy, update = compiled(agent, arm_dim, **settings)
    if not rounds:
        return policy, policy.init(KEY)
    _, before = after(agent, rounds - 1, arm_dim, **settings)
    return policy, update(jax.random.key(rounds - 1), before, seen(rounds - 1, arm_dim))


def stored(first: int, last: int, arm_dim: int):
    """Rows of the rounds first ... last - 1: x, model, reward, weight."""
    encoder = encoding.make_encoder(Spec(ARMS, DIM, arm_dim), SMALL["hidden_layers"], 99)
    rows = [encoder.examples(seen(n, arm_dim)) for n in range(first, last)]
    return encoder, jax.tree.map(lambda *parts: jnp.concatenate(parts), *rows)


def assert_learned(encoder, params, rows, known) -> None:
    """The posterior of each model is the textbook's, of rows encoded by these parameters."""
    z = f64(encoder.encode(params, rows)[0])
    assert z.any()
    for k in range(encoder.num_models):
        mine = np.asarray(rows.model) == k
        precision, mean, shape, scale = textbook(z[mine], f64(rows.reward)[mine], f64(rows.weight)[mine], RIDGE)
        gaussian = getattr(known, "gaussian", known)
        np.testing.assert_allclose(gaussian.precision[k] + RIDGE * np.eye(len(mean)), precision, atol=1e-4)
        np.testing.assert_allclose(
            gaussian.moment[k], z[mine].T @ (f64(rows.weight) * f64(rows.reward))[mine], atol=1e-4
        )
        if gaussian is not known:
            np.testing.assert_allclose(known.solution.mean[k], mean, atol=1e-4)
            np.testing.assert_allclose([known.shape[k], known.scale[k]], [shape, scale], rtol=1e-4, atol=1e-5)


@each_kind
def test_between_trainings_rows_are_added_and_after_one_all_stored_rows_are_encoded_again(arm_dim):
    _, before = after("ts", 2, arm_dim, reset=True)
    encoder, rows = stored(0, 2, arm_dim)
    assert_learned(encoder, before.params, rows, before.posterior)
    _, trained = after("ts", 3, arm_dim, reset=True)
    assert any(np.any(a != b) for a, b in zip(*map(jax.tree.leaves, (before.params, trained.params)), strict=True))
    rows = stored(0, 3, arm_dim)[1]
    newest = jax.tree.map(lambda leaf: leaf[rows.weight > 0][-12:], rows)  # what does not count is not stored
    assert_learned(encoder, trained.params, newest, trained.posterior)
    _, later = after("ts", 4, arm_dim, reset=True)
    more = jax.tree.map(lambda *parts: jnp.concatenate(parts), newest, stored(3, 4, arm_dim)[1])
    assert_learned(encoder, later.params, more, later.posterior)


def test_a_training_takes_rmsprop_steps_on_minibatches_of_stored_rows():
    _, before = after("ts", 2, 0, reset=False)
    _, trained = after("ts", 3, 0, reset=False)
    encoder, _ = stored(0, 1, 0)
    assert trained.memory.stored == 12
    params, scale = before.params, jax.tree.map(jnp.ones_like, before.params)

    def loss(params, rows):
        return jnp.mean(rows.weight * (encoder.encode(params, rows)[1] - rows.reward) ** 2)

    for number in range(4):
        key = jax.random.fold_in(jax.random.key(2), number)
        grads = jax.grad(loss)(params, replay.sample(key, trained.memory, 8))
        norm = jnp.sqrt(sum(jnp.sum(g**2) for g in jax.tree.leaves(grads)))
        grads = jax.tree.map(lambda g, norm=norm: g * jnp.minimum(1, 5 / norm), grads)
        scale = jax.tree.map(lambda s, g: 0.9 * s + 0.1 * g**2, scale, grads)
        params = jax.tree.map(lambda p, g, s: p - 0.01 * g / jnp.sqrt(s + 1e-8), params, grads, scale)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), trained.params, params)


@pytest.mark.parametrize("reset", [True, False])
def test_reset_forgets_the_second_moments_of_the_training_before(reset):
    _, update = compiled("ts", 0, reset=reset)
    _, before = after("ts", 5, 0, reset=reset)
    kicked = before._replace(optimizer=jax.tree.map(lambda leaf: leaf + 1, before.optimizer))
    ends = [update(jax.random.key(5), state, seen(5, 0)).params for state in (before, kicked)]
    same = all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, ends), strict=True))
    assert same == reset
    assert before.served == ARMS * 2  # initial_pulls: of those who come later nobody asks


@each_kind
def test_rows_are_taught_in_blocks_of_one_model_whatever_the_blocks(arm_dim, monkeypatch):
    encoder, rows = stored(0, 9, arm_dim)
    rows = rows._replace(model=jnp.where(rows.model == 2, 1, rows.model))  # one model has no rows
    params, models = encoder.init(KEY), encoder.num_models

    def learn(known, model, z, reward, weight):
        assert z.shape[0] <= 4
        return known + jnp.sum(z * (reward * weight)[:, None], axis=0)[None]

    monkeypatch.setattr(encoding, "BLOCK", 4)
    for rounds in (1, 4, 9):
        memory = replay.Replay(rows, jnp.int32(0), jnp.int32(rounds * BATCH))
        got = encoding.fold(encoder, params, memory, seen(rounds - 1, arm_dim), jnp.zeros((models, 6)), learn)
        z = f64(encoder.encode(params, rows)[0]) * f64(rows.reward * rows.weight)[:, None]
        count = rounds * BATCH
        expected = [z[:count][np.asarray(rows.model)[:count] == k].sum(axis=0) for k in range(models)]
        np.testing.assert_allclose(got, expected, atol=1e-5)


@each_kind
@pytest.mark.parametrize("warm_start", [True, False])
def test_linucb_starts_with_the_rows_of_the_first_phase_or_without(arm_dim, warm_start):
    settings = {"encoder_rounds": 3, "warm_start": warm_start}
    _, during = after("ucb", 2, arm_dim, **settings)
    assert not during.posterior.precision.any()
    _, turned = after("ucb", 3, arm_dim, **settings)
    encoder, rows = stored(0, 3, arm_dim)
    if warm_start:
        assert_learned(encoder, turned.params, rows, turned.posterior)
    else:
        assert not turned.posterior.precision.any()
    _, later = after("ucb", 5, arm_dim, **settings)
    jax.tree.map(np.testing.assert_array_equal, later.params, turned.params)
    assert_learned(encoder, later.params, stored(0 if warm_start else 3, 5, arm_dim)[1], later.posterior)


@each_kind
def test_linucb_takes_the_best_value_first_and_the_highest_bound_later(arm_dim):
    encoder, _ = stored(0, 1, arm_dim)
    for rounds in (2, 5):
        settings = {"encoder_rounds": 3, "epsilon": 0.0, "alpha": 0.7, "ties": "first"}
        policy, state = after("ucb", rounds, arm_dim, **settings)
        context = users(200, DIM, arms=normal(5, 200, ARMS, arm_dim) if arm_dim else None)
        z, values = (f64(part) for part in encoder.offered(state.params, context))
        scores = values
        if rounds == 5:
            inverse = np.linalg.inv(f64(state.posterior.precision) + RIDGE * np.eye(6))
            theta = np.einsum("kij,kj->ki", inverse, f64(state.posterior.moment))
            z = z if arm_dim else np.repeat(z[:, None], ARMS, axis=1)
            inverse, theta = (np.broadcast_to(part, (ARMS, *part.shape[1:])) for part in (inverse, theta))
            scores = np.einsum("bki,ki->bk", z, theta)
            scores = scores + 0.7 * np.sqrt(np.einsum("bki,kij,bkj->bk", z, inverse, z))
        top = np.sort(scores, axis=1)
        clear = top[:, -1] - top[:, -2] > 1e-4
        assert clear.mean() > 0.9
        action = np.asarray(policy.select(KEY, state, context).action)
        assert np.array_equal(action[clear], np.argmax(scores, axis=1)[clear])


def test_layers_that_are_none_are_refused():
    for factory in (neural_linear_ts, neural_linucb):
        with pytest.raises(InputError, match=r"hidden_layers is \(\); allowed"):
            factory(Spec(ARMS, DIM, 0), hidden_layers=())


@pytest.mark.parametrize("env", ["wheel", "linear-per-arm"])
@pytest.mark.parametrize("agent", ["neural-linear-ts", "neural-linucb"])
def test_neural_linear_agents_learn(agent, env):
    environment, params = small_world(env)
    small = {"neural-linear-ts": {"train_steps": 20, "minibatch_size": 64, "buffer_size": 4096}}
    settings = small.get(agent, {"encoder_rounds": 200})
    factory = make_agent(agent, environment, hidden_layers=(32, 16), **settings)
    run = one_lane(environment, params, factory, 16)
    _, sums = run(KEY, {"learning_rate": jnp.float32(0.01)}, np.array([0, 250, 300], np.int32))
    by_chance = f64(sums.optimal) - f64(sums.uniform)
    assert sums.regret[-1] < 0.5 * by_chance[-1]
