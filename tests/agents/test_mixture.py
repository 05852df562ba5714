"""The mixture of agents: who is drawn, whose arm is played, who learns, and the weights by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import validate
from jaxbandit.agents import AGENTS
from jaxbandit.agents.mixture import Drawn, MixtureState, exp3_mixture
from jaxbandit.types import Agent, Decision, Interaction, Spec
from tests.support import assert_counts, coins, make_agent, one_lane, users

N = 20_000
KEY = jax.random.key(0)
UNIT = Spec(3, 1, 0, (0.0, 1.0))


def always(arm: int):
    """An agent of one arm that wants 10 user_id + arm back, and sums w times what it got back."""

    def select(key, state, context):
        return Decision(jnp.full(context.user_id.shape, arm, jnp.int32), 10 * context.user_id + arm)

    def update(key, state, seen):
        return state + seen.weight @ seen.memory.astype(jnp.float32)

    return lambda spec: Agent(lambda key: jnp.zeros(()), select, update)


@pytest.fixture(autouse=True)
def stubs(monkeypatch):
    for arm in range(3):
        monkeypatch.setitem(AGENTS, f"always-{arm}", always(arm))


def made(**settings) -> Agent:
    return exp3_mixture(UNIT, agents="always-0+always-1+always-2", **settings)


def interaction(agent, reward, probability=(0.5, 0.5, 0.5), weight=(1, 1, 1)) -> Interaction:
    """Three users, each served by the agent that is named."""
    context, agent = users(3), jnp.array(agent, jnp.int32)
    memory = tuple(10 * context.user_id + arm for arm in range(3))
    drawn = Drawn(agent, jnp.array(probability, jnp.float32), memory)
    return Interaction(context, agent, jnp.array(reward), jnp.array(weight, jnp.float32), jnp.int32(0), drawn)


def test_an_agent_is_drawn_by_its_weight_and_its_arm_is_played():
    state = MixtureState((jnp.zeros(()),) * 3, jnp.array([0.0, -30.0, -60.0]), jnp.float32(400.0))
    decision = made(least_temperature=10.0).select(KEY, state, users(N))
    np.testing.assert_array_equal(decision.action, decision.memory.agent)
    expected = softmax([0, -1.5, -3])
    assert_counts(np.bincount(decision.action, minlength=3), expected)
    np.testing.assert_allclose(decision.memory.probability, expected[np.asarray(decision.action)], rtol=1e-5)


def test_only_the_drawn_agent_learns_and_gets_back_what_it_wanted():
    agent = made()
    state = agent.update(KEY, agent.init(KEY), interaction([2, 0, 2], [1.0, 1.0, 1.0], weight=(1, 1, 0.5)))
    np.testing.assert_allclose(state.agents, [10.0, 0.0, 2.0 + 22.0 / 2])


def test_weights_by_hand():
    agent = made(forgetting=0.5, least_temperature=2.0)
    state = agent.update(KEY, agent.init(KEY), interaction([0, 1, 2], [0.5, 0.0, 0.9], (0.25, 0.5, 0.1), (1, 1, 0)))
    # Losses .5 / .25 and 1 / .5; the third user is not there. T = max(2, sqrt 2), then sqrt(4 + 3).
    np.testing.assert_allclose(state.gains - state.gains[2], [-1.0, -1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(state.squared_temperature, 4.0)
    state = agent.update(KEY, state, interaction([0, 0, 0], [0.5, 1.0, 1.0], (0.25, 0.5, 0.5)))
    np.testing.assert_allclose(state.gains - state.gains[2], [-1.5, -0.5, 0.0], atol=1e-6)
    np.testing.assert_allclose(state.squared_temperature, 7.0)


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        ("linucb+lintz", "unknown agent 'lintz': did you mean 'lints'"),
        ("linucb+exp3-mixture", r"agents is 'linucb\+exp3-mixture'; allowed: agents that are no mixture themselves$"),
    ],
)
def test_agents_that_cannot_be_mixed_are_refused(agents, message):
    with pytest.raises(InputError, match=message):
        exp3_mixture(UNIT, agents=agents)


@pytest.mark.parametrize("agents", ["linucb", "linucb+", "+lints", "linucb,lints", ""])
def test_what_is_no_list_of_agents_is_refused_in_one_line(agents):
    with pytest.raises(InputError, match=rf"^agents is {agents!r}; allowed: text ".replace("+", r"\+")):
        validate("agent", "exp3-mixture", exp3_mixture, {"agents": agents})


def test_bounds_of_rewards_are_those_of_the_agents_too():
    exp3_mixture(Spec(3, 1, 0), agents="exp3+bernoulli-ts", reward_low=0.0, reward_high=5.0)
    with pytest.raises(InputError, match="reward_low is auto"):
        exp3_mixture(Spec(3, 1, 0), agents="linucb+lints")


def test_a_mixture_with_a_privileged_agent_is_privileged():
    assert exp3_mixture(UNIT, agents="oracle+linucb").privileged
    assert not made().privileged


def test_a_mixture_tells_its_probabilities_where_all_of_its_agents_do():
    agent = exp3_mixture(UNIT, agents="exp3+squarecb", least_temperature=1.0)
    state = agent.init(KEY)._replace(gains=jnp.array([0.0, -1.0]))
    state = state._replace(agents=(jnp.array([0.0, -100.0, -200.0]), state.agents[1]))
    shares, own = softmax([0, -1]), softmax([0, -1, -2])  # EXP3's learning rate is .01; SquareCB has seen nothing
    got = agent.probabilities(state, users(2))
    np.testing.assert_allclose(got[0], shares[0] * own + shares[1] / 3, rtol=1e-5)
    assert made().probabilities is None


def test_it_follows_the_better_agent():
    world, means = coins()
    run = one_lane(world, means, make_agent("exp3-mixture", world, agents="uniform+bernoulli-ts"), 8)
    carry, metrics = run(KEY, {"least_temperature": 20.0}, np.array([0, 400, 800], np.int32))
    assert carry.agent.gains[0] < carry.agent.gains[1]
    assert metrics.regret[1] < 0.4 * (metrics.optimal - metrics.uniform)[1]
