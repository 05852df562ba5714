"""What several tests need: small worlds, random contexts, statistical bounds, and what XLA compiles."""

from contextlib import suppress
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import hyperparameters
from jaxbandit.agents import AGENTS
from jaxbandit.data import Ratings
from jaxbandit.data.synthetic import World, generate
from jaxbandit.envs import ENVIRONMENTS
from jaxbandit.envs.outcome import expected, outcome
from jaxbandit.experiments.config import Config, takes_ratings
from jaxbandit.experiments.world import check_slates
from jaxbandit.simulation import rounds
from jaxbandit.types import Catalogue, Context, Environment, Spec, pair_products

# Users and arms have five features each: a rank of three and two biases. Equal shapes share compiled operations.
SMALL = {"num_actions": 5, "rank_k": 3, "factorizer": "residual_svd", "context_dim": 5, "user_dim": 5, "arm_dim": 5}
SMALL |= {"data": str(Path(__file__).parent / "data" / "labelled.csv"), "period": 50}
# What makes an agent slow to compile or run at its defaults.
SMALL_AGENT = {
    "hidden_layers": (16, 8),
    "train_steps": 5,
    "minibatch_size": 16,
    "buffer_size": 256,
    "encoder_rounds": 60,
}
# Where an agent is tested that is tested in one world alone: arms with features, fixed arms, slates.
HOMES = ("mf-per-arm", "mf", "cascade")


@cache
def small_ratings() -> Ratings:
    """60 users, 40 items, with known truth."""
    return generate("small", World(num_users=60, num_items=40, activity_scale=10.0, popularity_sd=1.0, seed=0))


@cache
def small_world(name: str, **settings) -> tuple[Environment, Any]:
    """An environment of the registry at the sizes above, as far as it has them."""
    factory = ENVIRONMENTS[name]
    ratings = [small_ratings()] if takes_ratings(name) else []
    sizes = {key: value for key, value in SMALL.items() if key in hyperparameters(factory)}
    return factory(*ratings, **sizes | settings)


@cache
def traced_values(agent: str) -> dict[str, jax.Array]:
    """Two values of each hyperparameter that a sweep may trace: the default, and half of it."""
    settings = hyperparameters(AGENTS[agent]).values()
    return {s.name: jnp.array([s.default, s.default / 2], jnp.float32) for s in settings if s.is_traced}


def defaults(agent: str) -> dict[str, jax.Array]:
    """The default of each of these hyperparameters."""
    return {name: values[0] for name, values in traced_values(agent).items()}


@cache
def world(agent: str, env: str, **settings) -> tuple[Environment, Any] | None:
    """A small world for an agent, its rewards in [0, 1] if it needs them there; None where it refuses both."""
    environment, params = small_world(env, **settings)
    for candidate in (environment, bounded(environment)):
        with suppress(InputError):
            check_slates(Config(agent=agent, env=env), candidate, make_agent(agent, candidate)(**defaults(agent)))
            return candidate, params
    return None


def home(agent: str) -> str:
    """The first of the worlds above that an agent takes."""
    return next(env for env in HOMES if world(agent, env))


class Watched(NamedTuple):
    """State of a world under masks."""

    inner: Any
    forbidden: jax.Array  # actions taken so far that were out of range or not allowed


def masked(environment: Environment) -> Environment:
    """The same world where about half of the arms are forbidden to each user, and that counts disobedience.

    As many arms as an action takes are allowed for certain.
    """

    def observe(key, params, state, batch_size):
        context, means = environment.observe(key, params, state.inner, batch_size)
        coin_key, arm_key = jax.random.split(jax.random.fold_in(key, 1))
        one = jax.random.randint(arm_key, (batch_size, 1), 0, means.shape[1])
        place = (jnp.arange(means.shape[1])[None] - one) % means.shape[1]
        mask = jax.random.bernoulli(coin_key, 0.5, means.shape) | (place < environment.spec.slate_size)
        return context._replace(mask=mask), means

    def respond(key, params, state, context, means, action):
        arms = action.reshape(action.shape[0], -1)
        inside = (arms >= 0) & (arms < means.shape[1])
        obeys = inside & jnp.take_along_axis(context.mask, jnp.where(inside, arms, 0), axis=1)
        inner, outcome = environment.respond(key, params, state.inner, context, means, action)
        return Watched(inner, state.forbidden + jnp.sum(~obeys, dtype=jnp.int32)), outcome

    def init(key, params):
        return Watched(environment.init(key, params), jnp.zeros((), jnp.int32))

    return replace(environment, init=init, observe=observe, respond=respond, reacts=True)


def coins() -> tuple[Environment, jax.Array]:
    """A world of five arms that pay 0 or 1, whoever comes."""

    def observe(key, params, state, batch_size):
        context = Context(jnp.ones((batch_size, 1)), jnp.arange(batch_size))
        return context, jnp.tile(params[None], (batch_size, 1))

    def respond(key, params, state, context, means, action):
        mean = expected(means, action)
        reward = (jax.random.uniform(key, mean.shape) < mean).astype(jnp.float32)
        return state, outcome(context, means, action, reward)

    spec = Spec(num_actions=5, user_dim=1, arm_dim=0, reward_range=(0.0, 1.0))
    return Environment(spec, lambda key, params: (), observe, respond), jnp.array([0.1, 0.2, 0.3, 0.45, 0.8])


def bounded(environment: Environment) -> Environment:
    """The same world with mean rewards squeezed into [0, 1], for agents that need them there; it pays 0 or 1."""

    def observe(key, params, state, batch_size):
        context, means = environment.observe(key, params, state, batch_size)
        return context, jax.nn.sigmoid(means / 10)

    def respond(key, params, state, context, means, action):
        state, outcome = environment.respond(key, params, state, context, means, action)
        pays = jax.random.uniform(jax.random.fold_in(key, 1), outcome.expected.shape) < outcome.expected
        return state, outcome._replace(reward=pays.astype(jnp.float32))

    spec = environment.spec._replace(reward_range=(0.0, 1.0))
    return replace(environment, spec=spec, observe=observe, respond=respond)


def make_agent(name: str, environment: Environment, **settings):
    """Factory of an agent that waits for its traced hyperparameters, at the sizes above as far as it has them."""
    has = hyperparameters(AGENTS[name])
    sizes = {key: min(value, has[key].default) for key, value in SMALL_AGENT.items() if key in has}
    return partial(AGENTS[name], environment.spec, **sizes | settings)


def one_lane(environment: Environment, params: Any, factory, batch_size: int):
    """The compiled single simulation (key, hyperparameters, edges) -> end, metrics, without any sweep around it."""

    @jax.jit
    def run(params, key, hyperparameters, edges):
        lane = rounds.Lane(environment, params, factory(**hyperparameters), batch_size)
        return rounds.simulate(key, lane, rounds.start(key, lane), edges)

    return partial(run, params)


def normal(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def f64(array: jax.Array) -> np.ndarray:
    return np.asarray(array, np.float64)


def catalogue(num_items: int, dim: int, seed: int = 0) -> Catalogue:
    items = normal(seed, num_items, dim)
    return Catalogue(items, jnp.asarray(pair_products(np.asarray(items))))


def users(batch: int, dim: int = 1, mask: np.ndarray | None = None, **fields) -> Context:
    """Context of random users; other fields of the context as given."""
    mask = None if mask is None else jnp.asarray(mask)
    return Context(normal(1, batch, dim), jnp.arange(batch, dtype=jnp.int32), mask=mask, **fields)


def assert_counts(counts: np.ndarray, probabilities: np.ndarray) -> None:
    """Chi-square test of counts at a fixed key: one in ten thousand keys would fail by chance."""
    probabilities = np.broadcast_to(probabilities, np.shape(counts))
    assert np.all(counts[probabilities == 0] == 0)
    possible = probabilities > 0
    expected = probabilities[possible] / probabilities[possible].sum() * np.sum(counts)
    if possible.sum() == 1:
        return
    assert stats.chisquare(counts[possible], expected).pvalue > 1e-4, (counts, expected)


def assert_mean(values: np.ndarray, expected: float) -> None:
    """Mean within 4 standard errors: one in 16,000 keys would fail by chance."""
    values = f64(values)
    error = values.std(ddof=1) / np.sqrt(values.size)
    # float32 values carry a relative rounding error of 1e-7 each.
    assert abs(values.mean() - expected) <= 4 * error + 1e-6 * abs(expected), (values.mean(), expected, error)


def keys(count: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), count)


class Recorded(NamedTuple):
    """State of a world that keeps a checksum of everything it has shown."""

    inner: Any
    checksum: jax.Array


def recorded(environment, *, reacts: bool):
    """The same world with a checksum, equal only if every user and arm was equal bit for bit, in order."""

    def respond(key, params, state, context, means, action):
        shown = jax.tree.leaves((context.user, context.arms, context.arm_id, context.user_id))
        words = [jax.lax.bitcast_convert_type(x, jnp.uint32) for x in shown]
        checksum = state.checksum
        for word in words:
            odd = 2 * jnp.arange(word.size, dtype=jnp.uint32).reshape(word.shape) + jnp.uint32(1)
            checksum = checksum * jnp.uint32(31) + jnp.sum(word * odd, dtype=jnp.uint32)
        inner, outcome = environment.respond(key, params, state.inner, context, means, action)
        return Recorded(inner, checksum), outcome

    return replace(
        environment,
        init=lambda key, params: Recorded(environment.init(key, params), jnp.uint32(0)),
        observe=lambda key, params, state, batch: environment.observe(key, params, state.inner, batch),
        respond=respond,
        reacts=reacts,
    )


@cache
def compilations() -> list[str]:
    """List that grows by an entry with everything that XLA compiles from now on."""
    events: list[str] = []

    def listen(event: str, seconds: float, **_: Any) -> None:
        if "backend_compile" in event:
            events.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    return events


def assert_input_error(call, *words: str, **options) -> None:
    """Call it with the options, and see that it refuses them in one line that holds `words`."""
    with pytest.raises(InputError) as error:
        call(**options)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value), (word, str(error.value))
