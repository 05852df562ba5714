"""Two finished sweeps that several modules of tests look at: a grid, and one with halving.

JAX is imported within fixtures, as it reads its settings then: pytest may import this before tests/conftest.py has
made the directory of compiled programs.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.experiments.sweeps import GRID, HALVING, sweep

if TYPE_CHECKING:
    from jaxbandit.simulation.metrics import Curves


@pytest.fixture(scope="session")
def seen() -> "dict[str, dict[int, Curves]]":
    """Curves of all configurations, as sweeps have handed them to their last table."""
    return {}


@pytest.fixture(scope="session")
def swept(tmp_path_factory, seen) -> Path:
    """A sweep of a grid."""
    from jaxbandit.experiments import sweep as search

    out = tmp_path_factory.mktemp("swept") / "grid"
    tabulate = search.tabulate

    def keep(plan, configs, results):
        seen["grid"] = {i: result.curves for i, result in results.items()}
        return tabulate(plan, configs, results)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "tabulate", keep)
        result = sweep(*GRID, "--out", out)
    assert "compiling linucb (1 of 4 programs)" in result.err
    assert f"results in {out}" in result.out
    return out


@pytest.fixture(scope="session")
def halved(tmp_path_factory) -> tuple[Path, list[int]]:
    """A sweep with halving, and how often XLA had compiled after each rung."""
    from jaxbandit.experiments import runner
    from tests.support import compilations

    out, counts, run_rung = tmp_path_factory.mktemp("halved") / "halving", [], runner.Runner._run_rung
    compilations()

    def count(*args: Any) -> Any:
        found = run_rung(*args)
        counts.append(len(compilations()))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.Runner, "_run_rung", count)
        sweep(*HALVING, "--out", out)
    return out, counts
