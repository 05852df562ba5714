"""The named learning curves that table, file, picture and TensorBoard all show. Reduces nothing over seeds."""

import numpy as np
from jaxtyping import Float

from jaxbandit.metrics import Curves


def series(curves: Curves) -> dict[str, Float[np.ndarray, "W L"]]:
    """Name every curve of a run.

    Per interaction within the row: average_return, regret, suboptimal_arms, uniform, optimal, and uniform_regret =
    optimal - uniform. Up to the end of the row: average_return_so_far per interaction, and cumulative_regret and
    uniform_cumulative_regret summed over the interactions of a lane.
    """
    means, sums = curves.means(), curves.sums
    rounds = (curves.edges[1:] - curves.edges[0])[:, None]
    named = {
        "average_return": means.average_return,
        "average_return_so_far": np.cumsum(sums.average_return, axis=0) / rounds,
        "regret": means.regret,
        "cumulative_regret": curves.cumulative_regret(),
        "suboptimal_arms": means.suboptimal_arms,
        "uniform": means.uniform,
        "optimal": means.optimal,
        "uniform_regret": means.optimal - means.uniform,
        "uniform_cumulative_regret": np.cumsum(sums.optimal - sums.uniform, axis=0) * curves.batch_size,
    }
    return {name: np.asarray(values) for name, values in named.items()}
