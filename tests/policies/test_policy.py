"""A policy that was loaded: it serves any number of users, and refuses files and contexts that are none of its own."""

import json
import re

import jax
import numpy as np
import pytest

import jaxbandit
from jaxbandit._core.errors import InputError
from jaxbandit.types import Context
from tests.policies.exports import contexts_of, exported

ARMS = [[0, 1, 2, 3, 39], [4, 4, 4, 4, 4]]


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
        header.replace('"format": 2', '"format": 3'): "has format 3; allowed: 1 to 2",
        header[: len(header) // 2]: "cannot be read",
        "[]": "is no JSON object",
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


def leaves(content, path=()):
    """Paths of all numbers, texts and empty lists in JSON."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    if not inner:
        yield path
    for name, value in inner:
        yield from leaves(value, (*path, name))


def mutated(content, path, value):
    """A copy with another value at a path."""
    content = json.loads(json.dumps(content))
    inner = content
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = value
    return content


def test_a_header_with_any_other_entry_is_refused(tmp_path):
    exported("linucb", "mf-per-arm", tmp_path)
    header = json.loads((tmp_path / "policy.json").read_text())
    for path in leaves(header):
        for value in (None, -1, "x", [], {}):
            (tmp_path / "policy.json").write_text(json.dumps(mutated(header, path, value)))
            with pytest.raises(InputError, match=r"^[^\n]*(damaged|format)[^\n]*$"):
                jaxbandit.load_policy(tmp_path)


def test_a_header_of_an_older_jaxbandit_acts_or_is_refused_for_its_types(tmp_path, capsys):
    policy = exported("linucb", "mf-per-arm", tmp_path)
    context = policy.context(np.ones((2, 5)), arm_id=ARMS)
    header = {**policy.header, "format": 1}
    (tmp_path / "policy.json").write_text(json.dumps(header))
    np.testing.assert_array_equal(jaxbandit.load_policy(tmp_path).act(context), policy.act(context))
    assert "has no digest" in capsys.readouterr().err
    free = ("config", "jax", "jaxbandit", "seed", "rounds")  # by which nobody acts
    for path in leaves(header):
        if path[0] in free or path[-1] in ("words", "call", "symbol") or "platforms" in path:
            continue
        (tmp_path / "policy.json").write_text(json.dumps(mutated(header, path, {})))
        with pytest.raises(InputError):
            jaxbandit.load_policy(tmp_path).act(context)


@pytest.mark.parametrize("answer", [-7, 5, 8])
def test_an_answer_that_is_no_arm_is_refused(answer, catalogued, monkeypatch):
    context = catalogued.context(np.ones((2, 5)), arm_id=ARMS)
    crafted = {"program.stablehlo": lambda arrays, key, context: np.full(len(context["user"]), answer, np.int32)}
    monkeypatch.setattr(catalogued, "_programs", crafted)
    with pytest.raises(InputError, match=f"has answered action {answer} of arms 0 to 4.*export it again"):
        catalogued.act(context)


def test_an_answer_that_the_mask_forbids_and_probabilities_that_are_none_are_refused(catalogued, monkeypatch):
    mask = np.array([[True] * 5, [True, False, True, True, True]])
    context = catalogued.context(np.ones((2, 5)), arm_id=ARMS, mask=mask)
    crafted = {
        "program.stablehlo": lambda arrays, key, context: np.ones(len(context["user"]), np.int32),
        "probabilities.stablehlo": lambda arrays, key, context: np.full((len(context["user"]), 5), np.nan),
    }
    monkeypatch.setattr(catalogued, "_programs", crafted)
    with pytest.raises(InputError, match="an arm that the mask forbids"):
        catalogued.act(context)
    with pytest.raises(InputError, match="probabilities that are none"):
        catalogued.probabilities(context)


@pytest.fixture(scope="module")
def catalogued(tmp_path_factory) -> jaxbandit.Policy:
    """Five of forty items for users of five features."""
    return exported("linucb", "mf-per-arm", tmp_path_factory.mktemp("policy"))


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
