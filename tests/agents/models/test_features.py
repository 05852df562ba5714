from itertools import product

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbandit._core.errors import InputError
from jaxbandit.agents.models import features, gaussian
from jaxbandit.types import Context, Spec, chosen_arms, offered_arms, pair_products
from tests.support import catalogue, f64, normal, users

BATCH, ARMS, DIM = 6, 4, 5
KINDS = ("concat", "hadamard", "outer")


def context(arms: str) -> Context:
    if arms == "own":
        return users(BATCH, DIM, arms=normal(2, BATCH, ARMS, DIM))
    # Small and large beside B K = 24: scores are computed once per item, or once per offered arm.
    items = catalogue({"large catalogue": 500, "medium catalogue": 30}.get(arms, 7), DIM)
    if arms == "whole catalogue":
        return users(BATCH, DIM, catalogue=items)
    arm_id = np.random.default_rng(3).integers(0, len(items.features), (BATCH, ARMS))
    return users(BATCH, DIM, catalogue=items, arm_id=jnp.asarray(arm_id, jnp.int32))


def plain(kind: str, add_bias: bool, seen: Context) -> np.ndarray:
    """Joint features of every pair by definition, in float64."""
    u = f64(seen.user)
    rows = []
    for b, offered in enumerate(f64(offered_arms(seen))):
        bias = [1.0] if add_bias else []
        row = {
            "concat": lambda v, b=b, bias=bias: np.r_[u[b], bias, v],
            "hadamard": lambda v, b=b, bias=bias: np.r_[u[b] * v, bias],
            "outer": lambda v, b=b: np.outer(np.r_[1, u[b]], np.r_[1, v]).ravel(),
        }[kind]
        rows.append([row(v) for v in offered])
    return np.array(rows)


OFFERS = ("own", "small catalogue", "medium catalogue", "large catalogue", "whole catalogue")


@pytest.mark.parametrize(("kind", "add_bias", "arms"), list(product(KINDS, (False, True), OFFERS)))
def test_fast_paths_equal_the_definition(kind, add_bias, arms):
    seen = context(arms)
    x = plain(kind, add_bias, seen)
    dim = features.dim(kind, Spec(x.shape[1], DIM, DIM), add_bias)
    assert x.shape[-1] == dim
    formed = features.joint(kind, add_bias, seen.user[:, None], offered_arms(seen))
    np.testing.assert_allclose(formed, x, atol=1e-5)
    state = gaussian.update(gaussian.init(dim), normal(4, 60, dim), normal(5, 60), jnp.ones(60))
    solution = gaussian.solve(state, 1.0)
    mean, variance = features.predict(kind, add_bias, seen, solution)
    whitener = f64(solution.whitener)
    # Sums of up to 36 products of order 1 in float32.
    np.testing.assert_allclose(mean, x @ f64(solution.mean), atol=2e-5)
    np.testing.assert_allclose(variance, np.sum((x @ whitener.T) ** 2, axis=-1), rtol=1e-4, atol=1e-5)
    theta = normal(6, BATCH, dim)
    each = features.linear(kind, add_bias, seen, theta)
    np.testing.assert_allclose(each, np.einsum("bkd,bd->bk", x, f64(theta)), atol=2e-5)


@pytest.mark.parametrize(("kind", "add_bias"), list(product(KINDS, (False, True))))
def test_joint_features_of_chosen_arms_are_those_of_the_offer(kind, add_bias):
    for arms in ("own", "large catalogue", "whole catalogue"):
        seen = context(arms)
        action = np.arange(BATCH, dtype=np.int32) % ARMS
        chosen = features.joint(kind, add_bias, seen.user, chosen_arms(seen, jnp.asarray(action)))
        expected = plain(kind, add_bias, seen)[np.arange(BATCH), action]
        np.testing.assert_allclose(chosen, expected, atol=1e-5)
        parts = features.parts(kind, add_bias, seen.user, chosen_arms(seen, jnp.asarray(action)))
        np.testing.assert_array_equal(jnp.concatenate(parts, axis=1), chosen)


def test_hadamard_of_unequal_lengths_is_refused_in_words():
    with pytest.raises(InputError, match=r"features is 'hadamard'.* 4 and 5; allowed here: concat \| outer"):
        features.dim("hadamard", Spec(3, 4, 5), False)


def test_fixed_arms_have_the_user_features_and_the_bias():
    assert features.dim("outer", Spec(3, 4, 0), True) == 5


def test_pair_products_turn_a_quadratic_form_into_a_dot_product():
    v, m = f64(normal(0, 9, 4)), f64(normal(1, 4, 4))
    m = m + m.T
    i, j = np.triu_indices(4)
    np.testing.assert_allclose(pair_products(v) @ m[i, j], np.einsum("ni,ij,nj->n", v, m, v), atol=1e-5)
