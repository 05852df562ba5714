import jax
import jax.numpy as jnp
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import validate
from jaxbandit.envs.bernoulli import bernoulli
from tests.support import assert_mean, f64

BATCH = 20_000


def test_every_arm_pays_one_with_its_probability():
    environment, params = bernoulli()
    context, means = environment.observe(jax.random.key(0), params, (), BATCH)
    assert environment.spec.num_actions == 5
    for arm, mean in enumerate((0.1, 0.2, 0.3, 0.45, 0.5)):
        action = jnp.full(BATCH, arm, jnp.int32)
        _, outcome = environment.respond(jax.random.key(arm), params, (), context, means, action)
        assert set(f64(outcome.reward)) == {0.0, 1.0}
        assert_mean(outcome.reward, mean)
        assert float(outcome.optimal[0] - outcome.uniform[0]) == pytest.approx(0.5 - 0.31)


def test_means_are_read_from_text_and_lie_between_0_and_1():
    settings = validate("env", "bernoulli", bernoulli, {"means": "0,0.25,1"})
    assert bernoulli(**settings)[0].spec[:4] == (3, 1, 0, (0.0, 1.0))
    with pytest.raises(InputError, match=r"means is '0\.5,1\.5'; allowed: numbers.* >= 0 and <= 1"):
        validate("env", "bernoulli", bernoulli, {"means": "0.5,1.5"})
    with pytest.raises(InputError, match=r"means is 0\.5; allowed: at least 2"):
        bernoulli(means=(0.5,))
