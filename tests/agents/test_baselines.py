import jax
import numpy as np
import pytest

from jaxbandit.envs import ENVIRONMENTS
from tests.support import assert_mean, f64, make_agent, masked, one_lane, small_world

ROUNDS, BATCH = 400, 8


def played(agent: str, env: str):
    """Metrics of each ten rounds under masks."""
    environment, params = small_world(env)
    environment = masked(environment)
    run = one_lane(environment, params, make_agent(agent, environment), BATCH)
    return run(jax.random.key(0), {}, np.arange(0, ROUNDS + 1, 10, dtype=np.int32))[1]


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_the_oracle_never_regrets(env):
    metrics = played("oracle", env)
    np.testing.assert_array_equal(metrics.regret, 0)
    np.testing.assert_array_equal(metrics.suboptimal_arms, 0)


@pytest.mark.parametrize("env", ENVIRONMENTS)
def test_uniform_earns_what_a_uniform_choice_among_allowed_arms_earns(env):
    metrics = played("uniform", env)
    earned = f64(metrics.optimal) - f64(metrics.regret)
    assert_mean((earned - f64(metrics.uniform)) / 10, 0.0)
    assert np.all(metrics.regret > 0)
