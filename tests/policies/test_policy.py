"""A policy that was loaded: it serves any number of users, and refuses files and contexts that are none of its own."""

import re

import jax
import numpy as np
import pytest

import jaxbandit
from jaxbandit._core.errors import InputError
from jaxbandit.types import Context
from tests.policies.exports import contexts_of, exported


@pytest.mark.parametrize(("agent", "env"), [("linucb", "mf-per-arm"), ("neural-ucb", "mf-per-arm")])
def test_any_number_of_users_is_served(agent, env, tmp_path):
    policy = exported(agent, env, tmp_path)
    some = [context._replace(catalogue=None) for context in contexts_of(env)]
    many = jax.tree.map(lambda *parts: np.concatenate(parts), *some)
    actions = policy.act(many)
    for first, stop in ((0, 0), (0, 1), (3, 6), (8, 16), (1, 16)):
        found = policy.act(jax.tree.map(lambda x, rows=slice(first, stop): x[rows], many))
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, actions[first:stop])


def test_users_beyond_the_most_of_a_call_are_served_in_parts_that_draw_on_their_own(tmp_path):
    policy = exported("uniform", "mf", tmp_path)
    most = policy.header["programs"]["program.stablehlo"]["users"]["most"]
    actions = policy.act(policy.context(np.zeros((most + 100, policy.spec.user_dim))))
    assert actions.shape == (most + 100,)
    assert np.any(actions[:100] != actions[most:])


def test_random_choices_follow_the_seed(tmp_path):
    policy = exported("lints", "linear-per-arm", tmp_path)
    context = policy.context(np.zeros((64, 5)), arms=np.ones((64, policy.spec.num_actions, 5)))
    np.testing.assert_array_equal(policy.act(context), policy.act(context, seed=0))
    assert np.any(policy.act(context) != policy.act(context, seed=1))
    for seed in (-1, 2**32, True):
        with pytest.raises(InputError, match="seed is"):
            policy.act(context, seed=seed)


def test_what_is_no_policy_is_refused(tmp_path):
    policy = tmp_path / "policy"
    exported("uniform", "mf", policy)
    with pytest.raises(InputError, match=f"holds none: did you mean '{policy}'"):
        jaxbandit.load_policy(tmp_path)
    with pytest.raises(InputError, match="holds none: allowed: the --out of an export"):
        jaxbandit.load_policy(tmp_path / "nowhere")
    header = (policy / "policy.json").read_text()
    for content, words in {
        header.replace('"format": 1', '"format": 2'): "has format 2; allowed: 1",
        header[: len(header) // 2]: "is damaged",
        "[]": "is damaged",
    }.items():
        (policy / "policy.json").write_text(content)
        with pytest.raises(InputError, match=words):
            jaxbandit.load_policy(policy)
    (policy / "policy.json").write_text(header)
    for name in ("arrays.npz", "program.stablehlo"):
        content = (policy / name).read_bytes()
        (policy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        with pytest.raises(InputError, match=f"is damaged \\({name} is not what was exported\\)"):
            jaxbandit.load_policy(policy)
        (policy / name).write_bytes(content)
    jaxbandit.load_policy(policy)


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory) -> jaxbandit.Policy:
    """Five of forty items for users of five features."""
    return exported("linucb", "mf-per-arm", tmp_path_factory.mktemp("policy"))


ARMS = [[0, 1, 2, 3, 39], [4, 4, 4, 4, 4]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"user": None}, ("user is missing", "numbers of shape (B, 5)")),
        ({"user": [1.0] * 5}, ("user has shape (5,)", "(B, 5)")),
        ({"user": [[1.0] * 4] * 2}, ("user has shape (2, 4)",)),
        ({"user": [[1.0], [1.0, 2.0]]}, ("user is no array",)),
        ({"user": [["a"] * 5] * 2}, ("user has type <U1", "allowed: numbers")),
        ({"user": [[float("nan")] * 5] * 2}, ("user has nan", "finite")),
        ({"arm_id": None}, ("arm_id is missing", "whole numbers of shape (2, 5)")),
        ({"arm_id": ARMS[:1]}, ("arm_id has shape (1, 5)", "(2, 5)")),
        ({"arm_id": [[0.5] * 5] * 2}, ("arm_id has type float64", "whole numbers")),
        ({"arm_id": [[40] * 5] * 2}, ("arm_id has 40", "allowed: 0 to 39")),
        ({"arm_id": [[-1] * 5] * 2}, ("arm_id has numbers out of range",)),
        ({"arms": np.zeros((2, 5, 5))}, ("arms is given, but this policy takes arm_id",)),
        ({"mask": [[1, 1, 1, 1, 0]] * 2}, ("mask has type int64", "true and false of shape (2, 5)")),
        ({"mask": [[True] * 5, [False] * 5]}, ("mask allows 0 arms in row 1", "at least 1")),
        ({"user_id": [1, 2, 3]}, ("user_id has shape (3,)", "whole numbers of shape (2,)")),
    ],
)
def test_a_context_that_does_not_fit_is_refused(fields, words, catalogued):
    fits = {"user": np.ones((2, 5)), "arm_id": ARMS}
    assert catalogued.act(catalogued.context(**fits)).shape == (2,)
    with pytest.raises(InputError) as refusal:
        catalogued.context(**fits | fields)
    for word in words:
        assert word in str(refusal.value)
    assert "\n" not in str(refusal.value)
    unchecked = Context(**{"user_id": None, **fits, **fields})
    with pytest.raises(InputError, match=re.escape(str(refusal.value))):
        catalogued.act(unchecked)


def test_masked_arms_are_never_taken(catalogued):
    mask = np.random.default_rng(0).random((500, 5)) < 0.3
    mask[np.arange(500), np.arange(500) % 5] = True
    user, arm_id = np.random.default_rng(1).normal(size=(500, 5)), np.tile(ARMS[0], (500, 1))
    actions = catalogued.act(catalogued.context(user, arm_id=arm_id, mask=mask))
    assert np.all(mask[np.arange(500), actions])
