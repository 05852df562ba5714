"""Two lanes, three rows, small whole numbers: every expected value in these tests was computed by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from jaxbandit.simulation.metrics import Curves, RoundMetrics

BATCH, EDGES = 2, [0, 6, 9, 10]
MEANS = {
    "average_return": [[2, 3], [4, 4], [4.5, 4.5]],
    "regret": [[2, 1], [1, 1], [0, 1]],
    "suboptimal_arms": [[1, 0.5], [0.5, 0.5], [0, 0.25]],
    "uniform": [[2, 2], [3, 3], [2, 2]],
    "optimal": [[4, 4], [5, 5], [4, 6]],
}


@pytest.fixture
def make_curves() -> Callable[..., Curves]:
    def make(rows: int = 3, lanes: int = 2, edges: list[int] = EDGES) -> Curves:
        bounds = np.array(edges[: rows + 1])
        rounds = np.diff(bounds)[:, None]
        return Curves(
            BATCH, bounds, RoundMetrics(**{k: np.array(v, float)[:rows, :lanes] * rounds for k, v in MEANS.items()})
        )

    return make


@pytest.fixture
def curves(make_curves) -> Curves:
    return make_curves()


@pytest.fixture
def level() -> Callable[..., Curves]:
    """Ten rounds of batch 2 in which every lane keeps the regret it is given, under an optimum of 4; uniform pays 2."""

    def make(*regrets: float, rounds: int = 10) -> Curves:
        edges = np.arange(rounds + 1)
        regret = np.tile(np.array(regrets, float), (rounds, 1))
        four = np.full_like(regret, 4.0)
        arms = (regret > 0).astype(float)
        return Curves(2, edges, RoundMetrics(four - regret, regret, arms, four / 2, four))

    return make
