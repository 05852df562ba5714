"""Classification as a bandit: a row is a context, naming its label an action, and a table says what that pays.

How the rows are read lives in `data.labelled`.
"""

from typing import Annotated, NamedTuple

import jax
import numpy as np
from annotated_types import doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core.arrays import floats
from jaxbandit._core.errors import InputError
from jaxbandit.data import Labelled, fingerprints, load_labelled
from jaxbandit.envs import sampling
from jaxbandit.envs.masks import MinActions, offer_some
from jaxbandit.envs.outcome import outcome
from jaxbandit.types import Context, Environment, Outcome, Spec


class ClassificationParams(NamedTuple):
    """The rows, and what each action pays for each label."""

    features: Float[Array, "R d"]
    label: Int[Array, " R"]
    table: Float[Array, "L K"]


def classification(
    *,
    data: Annotated[str, doc("digits, breast-cancer or wine of scikit-learn, or the path of a CSV")] = "digits",
    label_column: Annotated[
        str | None, doc("column of labels in a CSV, also column:3; auto: label, class, target or y, else the last")
    ] = None,
    reward_table: Annotated[
        tuple[float, ...] | None,
        doc("rewards of all actions for the first label, then the second, …; auto: 1 if right"),
    ] = None,
    min_actions: MinActions = 0,
) -> tuple[Environment[ClassificationParams, tuple[()]], ClassificationParams]:
    """Draw rows with replacement, show their standardised features, and pay table[label, action].

    Source: Riquelme, Tucker & Snoek 2018, "Deep Bayesian bandits showdown", https://arxiv.org/abs/1802.09127.

    Raises:
        InputError: the data are refused, or the table is no table.
    """
    rows = load_labelled(data, label_column)
    fingerprints.note(data, rows, label_column=label_column)
    table = _table(rows, reward_table)
    params = ClassificationParams(floats(_standardized(rows.features)), jax.device_put(rows.label), floats(table))

    def observe(
        key: Key[Array, ""], params: ClassificationParams, state: tuple[()], batch_size: int
    ) -> tuple[Context, Array]:
        row = sampling.uniform(key, params.label.shape[0], batch_size)
        return Context(user=params.features[row], user_id=row), params.table[params.label[row]]

    def respond(
        key: Key[Array, ""],
        params: ClassificationParams,
        state: tuple[()],
        context: Context,
        means: Array,
        action: Array,
    ) -> tuple[tuple[()], Outcome]:
        return state, outcome(context, means, action)

    spec = Spec(table.shape[1], rows.features.shape[1], 0, (float(table.min()), float(table.max())))
    facts = {"rows": len(rows.label), "labels": rows.num_labels}
    environment = Environment(spec, lambda key, params: (), observe, respond, facts)
    return offer_some(environment, min_actions), params


def _table(rows: Labelled, numbers: tuple[float, ...] | None) -> np.ndarray:
    count = rows.num_labels
    if numbers is None:
        return np.eye(count, dtype=np.float32)
    if len(numbers) % count or len(numbers) < 2 * count:
        raise InputError(
            f"reward_table has {len(numbers)} numbers for {count} labels; allowed: as many for each label, at least 2"
        )
    return np.array(numbers, np.float32).reshape(count, -1)


def _standardized(features: np.ndarray) -> np.ndarray:
    """Shift and scale columns to mean 0 and standard deviation 1; constant ones become 0."""
    columns = features.astype(np.float64)
    spread = np.where(np.ptp(columns, axis=0) > 0, columns.std(axis=0), 1)
    return ((columns - columns.mean(axis=0)) / spread).astype(np.float32)
