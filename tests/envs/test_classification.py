import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.envs.classification import classification
from tests.support import assert_counts, f64

ROWS = "a,same,b,kind\n1,7,2,cat\n3,7,4,dog\n5,7,9,cat\n8,7,-1,cow\n"


@pytest.fixture
def table(tmp_path) -> str:
    path = tmp_path / "table.csv"
    path.write_text(ROWS)
    return str(path)


def test_naming_the_label_pays_one_and_all_else_nothing(table):
    environment, params = classification(data=table)
    assert environment.spec[:4] == (3, 3, 0, (0.0, 1.0))
    context, means = environment.observe(jax.random.key(0), params, (), 4_000)
    row = np.asarray(context.user_id)
    assert_counts(np.bincount(row, minlength=4), 1 / 4)
    np.testing.assert_array_equal(means, np.eye(3)[np.array([0, 2, 0, 1])[row]])
    _, outcome = environment.respond(jax.random.key(1), params, (), context, means, jnp.zeros(4_000, jnp.int32))
    np.testing.assert_array_equal(outcome.reward, np.isin(row, (0, 2)))
    np.testing.assert_allclose(outcome.uniform, 1 / 3, rtol=1e-6)


def test_features_are_standardised_and_a_constant_one_is_nothing(table):
    _, params = classification(data=table)
    features = f64(params.features)
    np.testing.assert_allclose(features.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(features.std(axis=0), [1, 0, 1], atol=1e-6)


def test_a_reward_table_says_what_an_action_pays_for_a_label(table):
    environment, params = classification(data=table, reward_table=(1.0, 0.0, -5.0, 0.5, 2.0, 0.0))
    assert environment.spec[:4] == (2, 3, 0, (-5.0, 2.0))
    context, means = environment.observe(jax.random.key(0), params, (), 50)
    np.testing.assert_array_equal(means, np.array([[1, 0], [2, 0], [1, 0], [-5, 0.5]])[np.asarray(context.user_id)])


@pytest.mark.parametrize("numbers", [(1.0, 0.0), (1.0, 2.0, 3.0), (1.0,) * 7, ()])
def test_a_reward_table_of_another_shape_is_refused(table, numbers):
    with pytest.raises(InputError, match=f"reward_table has {len(numbers)} numbers for 3 labels"):
        classification(data=table, reward_table=numbers)
