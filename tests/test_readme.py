"""What the README says is so: its own agent runs, its generated parts are up to date."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jaxbandit
from jaxbandit import Config
from jaxbandit.agents import AGENTS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def own_agent() -> Iterator[str]:
    """Execute the README's agent, which registers itself; the registry is as before afterwards."""
    before = dict(AGENTS)
    code = re.search(r"<!-- own agent -->\n```python\n(.*?)```", README, re.DOTALL)[1]
    exec(compile(code, "README.md", "exec"), {})
    yield code
    AGENTS.clear()
    AGENTS.update(before)


def test_the_agent_of_the_readme_learns_and_is_about_thirty_lines(own_agent: str, tmp_path: Path) -> None:
    assert "follow-the-leader" in AGENTS
    assert len([line for line in own_agent.splitlines() if line.strip()]) <= 35
    config = Config(
        env="mf", agent="follow-the-leader", seeds=2, training_loops=20, env_settings={"rank_k": 5}, batch_size=64
    )
    summary = jaxbandit.run(config, str(tmp_path / "run"))
    # The best fixed arm is worth half of what uniform play loses at the least: a wide margin.
    assert summary["final"]["regret"]["mean"] < 0.5 * summary["baselines"]["uniform_regret"]["mean"]


def test_a_bad_value_for_the_agent_of_the_readme_is_refused(own_agent: str, tmp_path: Path) -> None:
    config = Config(env="wheel", agent="follow-the-leader", agent_settings={"epsilon": 1.5})
    with pytest.raises(ValueError, match=r"epsilon is 1\.5; allowed"):
        jaxbandit.run(config, str(tmp_path / "run"))


def test_the_generated_parts_are_up_to_date() -> None:
    got = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "report.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "PATH": ""},
    )
    assert got.returncode == 0, got.stderr


def test_no_number_about_speed_is_typed_by_hand() -> None:
    section = re.search(r"^## Speed\n(.*?)^## ", README, re.DOTALL | re.MULTILINE)[1]
    generated = re.compile(r"<!-- \w+ -->\n.*?<!-- end -->|```.*?```|`[^`]*`", re.DOTALL)
    assert len(generated.findall(section)) > 3
    assert re.findall(r"[^\n]*\d[^\n]*", generated.sub("", section)) == []
