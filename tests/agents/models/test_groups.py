import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit.agents.models import groups

B, D = 30, 4


@pytest.mark.parametrize("num_models", [1, 3, 50])
@pytest.mark.parametrize(
    ("ways", "shape"),
    [
        ((groups._add_rows, groups._multiply_rows), ()),
        ((groups._add_rows, groups._multiply_rows), (D,)),
        ((groups._add_products, groups._multiply_products), (D, D)),
    ],
)
def test_both_ways_add_each_row_to_its_model_alone(num_models, ways, shape):
    rng = np.random.default_rng(0)
    total, model = rng.normal(size=(num_models, *shape)), rng.integers(num_models, size=B)
    left, right = rng.normal(size=(2, B, D))
    rows = left[:, :, None] * right[:, None] if len(shape) == 2 else rng.normal(size=(B, *shape))
    expected = total.copy()
    np.add.at(expected, model, rows)
    numbers = [left, right] if len(shape) == 2 else [rows]
    arguments = [jnp.asarray(total, jnp.float32), jnp.asarray(model), *(jnp.asarray(x, jnp.float32) for x in numbers)]
    for way in ways:
        np.testing.assert_allclose(jax.jit(way)(*arguments), expected, atol=1e-5)
