"""What is exported acts as the agent did in its process, and holds nothing else."""

import json
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.export import deserialize

from jaxbandit._core.errors import InputError
from jaxbandit.agents import AGENTS
from jaxbandit.policies import stablehlo
from tests.command_line import ROOT
from tests.policies.exports import arrays_of, exported, taught
from tests.support import defaults, home, make_agent, world

MOST_CONSTANT = 64  # numbers in a constant: tables of indices are small, what was learned is not


def pairs() -> list[tuple[str, str]]:
    """Every agent in the world where it is at home, and worlds with contexts of other kinds."""
    first = [(agent, home(agent)) for agent in AGENTS]
    return [*first, ("linucb", "mf"), ("lints", "linear-per-arm"), ("uniform", "cascade")]


def acts(agent: str, env: str) -> bool:
    """Whether it is a policy, and no bound that sees mean rewards."""
    return not make_agent(agent, world(agent, env)[0])(**defaults(agent)).privileged


each_pair = pytest.mark.parametrize(("agent", "env"), [pair for pair in pairs() if acts(*pair)])


@pytest.mark.parametrize("agent", ["squarecb", "exp3", "uniform"])
def test_without_a_mask_all_arms_may_be_taken(agent, tmp_path):
    made, state, context, *_ = taught(agent, "mf")
    context = context._replace(mask=None)
    policy = make_agent(agent, made.environment)(**defaults(agent))
    actions = jax.jit(lambda state, context: policy.select(jax.random.key(5), state, context).action)(state, context)
    np.testing.assert_array_equal(exported(agent, "mf", tmp_path).act(context, seed=5), actions)


@each_pair
def test_an_exported_agent_acts_as_it_would_have(agent, env, tmp_path):
    made, _, context, actions, told = taught(agent, env)
    policy = exported(agent, env, tmp_path)
    np.testing.assert_array_equal(policy.act(context, seed=5), actions)
    assert policy.spec == made.environment.spec
    if told is None:
        with pytest.raises(InputError, match="tells no probabilities"):
            policy.probabilities(context)
    else:
        np.testing.assert_allclose(policy.probabilities(context), told, atol=1e-6)
    for path in tmp_path.glob("*.stablehlo"):
        check_program(path)


def check_program(path: Path) -> None:
    content = path.read_bytes()
    program = deserialize(bytearray(content))
    assert program.platforms == ("cpu", "cuda", "tpu")
    text = program.mlir_module()
    tables = re.findall(r"stablehlo.constant dense<(?:\[|\")[^>]*> : tensor<((?:\d+x)+)", text)  # not one number alone
    assert all(np.prod([int(size) for size in table.split("x")[:-1]]) <= MOST_CONSTANT for table in tables), tables
    assert "dense_resource" not in text
    assert str(ROOT).encode() not in content


def test_what_is_learned_but_not_acted_by_stays_behind(tmp_path):
    _, state, *_ = taught("neural-epsilon-greedy", "mf-per-arm")
    exported("neural-epsilon-greedy", "mf-per-arm", tmp_path)
    kept = arrays_of(tmp_path)
    held = stablehlo.named({"state": state})
    assert any("learned.params" in name for name in kept)
    assert not any("optimizer" in name or "opt_state" in name for name in kept)
    assert len([name for name in kept if name.startswith("state")]) < len(held)


def test_the_program_runs_as_policy_json_says(tmp_path):
    _, _, context, actions, _ = taught("linucb", "mf-per-arm")
    exported("linucb", "mf-per-arm", tmp_path)
    about = json.loads((tmp_path / "policy.json").read_text())["programs"]["program.stablehlo"]
    kept = arrays_of(tmp_path)
    program = deserialize(bytearray((tmp_path / "program.stablehlo").read_bytes()))
    arrays = {item["name"]: kept[item["name"]] for item in about["inputs"]["arrays"]}
    shown = {item["name"]: getattr(context, item["name"]) for item in about["inputs"]["context"]}
    for item in about["inputs"]["arrays"]:
        assert (list(arrays[item["name"]].shape), str(arrays[item["name"]].dtype)) == (item["shape"], item["dtype"])
    np.testing.assert_array_equal(program.call(arrays, np.array([0, 5], np.uint32), shown), actions)
    assert set(shown) == {"user", "arm_id", "mask"}
