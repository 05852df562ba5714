"""The linear agents against the textbook loop: same contexts, same noise, same actions; compared in every round."""

from dataclasses import asdict
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents import linear
from jaxbandit.agents.models import gaussian
from jaxbandit.agents.settings import LinearSettings
from jaxbandit.types import Context, Interaction, Spec
from tests.reference.linear import Linear, joint, score

ROUNDS, BATCH, ARMS, DIM = 300, 5, 4, 3
ALPHA, RIDGE = 0.7, 0.5
TOLERANCE = 1e-4  # float32 sums of 1,500 products of order 1, against condition numbers up to 3,000


class Case(NamedTuple):
    kind: str  # disjoint, or the features of the shared model
    rule: str
    add_bias: bool = False
    gamma: float = 1.0


CASES = [
    Case("disjoint", "ucb"),
    Case("disjoint", "ucb", add_bias=True, gamma=0.95),
    Case("concat", "ucb", add_bias=True),
    Case("concat", "ucb", gamma=0.95),
    Case("hadamard", "ucb", add_bias=True, gamma=0.95),
    Case("hadamard", "ucb"),
    Case("outer", "ucb"),
    Case("disjoint", "theta", gamma=0.95),
    Case("concat", "theta", add_bias=True),
    Case("hadamard", "theta", add_bias=True),
    Case("outer", "theta", gamma=0.95),
    Case("disjoint", "arm", add_bias=True),
    Case("concat", "arm", gamma=0.95),
]


class Data(NamedTuple):
    """What is injected, in every round."""

    user: np.ndarray  # [T, B, d]
    arms: np.ndarray  # [T, B, K, d]
    noise: np.ndarray  # [T, B] of the reward
    weight: np.ndarray  # [T, B] of the update
    keys: jax.Array  # [T] of the agent


def data() -> Data:
    rng = np.random.default_rng(0)
    user, arms = rng.standard_normal((ROUNDS, BATCH, DIM)), rng.standard_normal((ROUNDS, BATCH, ARMS, DIM))
    weight = rng.choice([0.0, 0.5, 1.0, 2.0], (ROUNDS, BATCH))
    numbers = [x.astype(np.float32) for x in (user, arms, 0.3 * rng.standard_normal((ROUNDS, BATCH)), weight)]
    return Data(*numbers, jax.random.split(jax.random.key(0), ROUNDS))


def textbook(case: Case, data: Data, draws: np.ndarray) -> dict[str, np.ndarray]:
    """Run the textbook loop; returns what it knew and did in each round."""
    disjoint = case.kind == "disjoint"
    truth = np.random.default_rng(1).standard_normal((ARMS, DIM))
    model = np.arange(ARMS) if disjoint else np.zeros(ARMS, int)
    dim = len(joint(case.kind, case.add_bias, data.user[0, 0], None if disjoint else data.arms[0, 0, 0]))
    agent = Linear(model.max() + 1, dim, RIDGE, case.gamma)
    rounds = []
    for t in range(ROUNDS):
        theta, M = agent.solve()
        x = np.array(
            [
                [joint(case.kind, case.add_bias, u, None if disjoint else v) for v in arms]
                for u, arms in zip(np.float64(data.user[t]), np.float64(data.arms[t]), strict=True)
            ]
        )
        known = [score(case.rule, ALPHA, rows, model, theta, M, draws[t, i]) for i, rows in enumerate(x)]
        mean, variance, scores = (np.array(part) for part in zip(*known, strict=True))
        action, i = np.argmax(scores, axis=1), np.arange(BATCH)
        reward = np.sum(data.user[t] * (truth[action] if disjoint else data.arms[t, i, action]), axis=1) + data.noise[t]
        reward = reward.astype(np.float32)
        agent.update(model[action], x[i, action], reward, data.weight[t])
        rounds.append(
            {"theta": theta, "mean": mean, "variance": variance, "scores": scores, "action": action, "reward": reward}
        )
    return {name: np.stack([r[name] for r in rounds]) for name in rounds[0]}


def settings_of(case: Case) -> LinearSettings:
    return LinearSettings(RIDGE, case.add_bias, "concat" if case.kind == "disjoint" else case.kind)


def ours(case: Case, spec: Spec, data: Data, action: np.ndarray, reward: np.ndarray) -> dict[str, jax.Array]:
    """Run our agent over the same rounds, learning from the textbook's actions."""
    shared = settings_of(case)
    settings = {"alpha": ALPHA, "gamma": case.gamma, "ties": "first", **asdict(shared)}
    if case.rule == "ucb":
        agent = linear.linucb(spec, **settings)
    else:
        agent = linear.lints(spec, **settings, sampling=case.rule)
    model = linear.make_model(spec, shared, case.gamma)

    def one_round(state, now):
        user, arms, weight, key, taken, paid = now
        context = Context(user, jnp.arange(BATCH), arms=arms if spec.arm_dim else None)
        solution = gaussian.solve(state, RIDGE)
        mean, variance = model.predict(context, solution)
        decision = agent.select(key, state, context)
        state = agent.update(key, state, Interaction(context, taken, paid, weight, jnp.int32(0), decision.memory))
        theta = solution.mean.reshape(-1, model.dim)
        return state, {"theta": theta, "mean": mean, "variance": variance, "action": decision.action}

    rounds = (data.user, data.arms, data.weight, data.keys, jnp.asarray(action, jnp.int32), reward)
    return jax.jit(lambda rounds: jax.lax.scan(one_round, agent.init(data.keys[0]), rounds)[1])(rounds)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_linear_agent_equals_the_textbook_loop(case):
    injected = data()
    spec = Spec(ARMS, DIM, 0 if case.kind == "disjoint" else DIM)
    dim = linear.make_model(spec, settings_of(case)).dim
    # LinTS draws scores of disjoint models, not their parameters: the distribution is the same.
    drawn = case._replace(rule="arm") if case[:2] == ("disjoint", "theta") else case
    shape = (BATCH, ARMS) if drawn.rule == "arm" else (BATCH, 1, dim)
    # LinTS splits its key into one for the noise and one for ties.
    draws = jax.vmap(lambda key: jax.random.normal(jax.random.split(key)[0], shape))(injected.keys)
    expected = textbook(drawn, injected, np.asarray(draws, np.float64))
    got = ours(case, spec, injected, expected["action"], expected["reward"])
    for name in ("theta", "mean", "variance"):
        np.testing.assert_allclose(got[name], expected[name], atol=TOLERANCE, rtol=TOLERANCE, err_msg=name)
    top = np.sort(expected["scores"], axis=-1)
    clear = top[..., -1] - top[..., -2] > TOLERANCE * np.maximum(1, np.abs(top[..., -1]))
    assert clear.mean() > 0.98
    assert np.array_equal(np.asarray(got["action"])[clear], expected["action"][clear])
