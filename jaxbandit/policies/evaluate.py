"""A log and a policy -> what the policy would have earned on the logged users: a table, and evaluation.json.

The policy acts with one state, fresh or the last one of another run, and learns nothing on the way.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from rich.console import Console

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted, write_json
from jaxbandit.experiments import interaction_log
from jaxbandit.experiments.config import Config, checked, read_config
from jaxbandit.experiments.console import phase
from jaxbandit.experiments.interaction_log import Reader, Rows
from jaxbandit.experiments.world import world_difference
from jaxbandit.policies import estimators
from jaxbandit.policies.estimators import Estimate, Sums
from jaxbandit.policies.reward_model import FOLDS, RIDGE, RewardModel
from jaxbandit.policies.trained import Learned, Policy, last_state, make_policy
from jaxbandit.reporting.console import print_rows
from jaxbandit.reporting.progress import print_plain
from jaxbandit.types import Context, Spec

BLOCKS = 500  # stretches of rounds that are resampled, of each seed
MOST_USERS, MOST_NUMBERS = 8192, 2**24  # users, and numbers of the features of their arms, that are looked at at a time
LEAST_SAMPLE, NOTABLE = 100, 0.001
WORDS = {
    "ips": "IPS, inverse propensity",
    "snips": "SNIPS, self-normalised",
    "dm": "DM, reward model",
    "dr": "DR, doubly robust",
    "logged": "the logged policy",
}


class Overlap(NamedTuple):
    """How much of the log speaks of the target."""

    squares: float = 0.0  # sum of w^2
    largest: float = 0.0
    impossible: float = 0.0  # probability, summed, of arms that the logged policy never takes there
    estimated: float = 0.0  # interactions whose propensity is an estimate


def evaluate(
    log: str,
    policy: Config,
    *,
    of_log: bool = True,
    policy_from: str | None = None,
    policy_seed: int = 0,
    samples: int = interaction_log.SAMPLES,
    out: str | None = None,
) -> dict[str, Any]:
    """Estimate what a policy would earn per interaction, write evaluation.json, and return its content.

    The policy is the agent of a config; with `of_log` it acts in the world of the log, else in that of the config,
    which must be the same. With `policy_from` its state is the last one of a run, of one of its seeds; where each seed
    hides a world of its own, that seed of the log alone is looked at.

    Raises:
        InputError: no log, another world, no such state, no overlap between the policy and the log.
    """
    directory = epath.Path(mounted(log))
    place = epath.Path(mounted(out)) if out else directory / "evaluation.json"
    if place.is_dir():
        raise InputError(f"out is {str(place)!r}, a directory; allowed: a file, as evaluation.json")
    reader = interaction_log.open_log(directory)
    logged = read_config(str(directory / "config.json"))
    policy = checked(replace(policy, **asdict(logged.world)) if of_log else policy)
    if difference := world_difference(policy.world, logged.world):
        raise InputError(f"log is {log!r}, of another world than the policy ({difference}); allowed: one of its world")
    with phase(f"building {policy.agent}"):
        learned = None if policy_from is None else last_state(mounted(policy_from), policy, policy_seed)
        target = make_policy(policy, spec_of(reader.header), None if learned is None else learned.state, samples)
    if learned is not None and learned.hidden:
        reader = replace(reader, only=_shared_seed(learned, policy_seed, logged))
    with phase("fitting the reward model"):
        model = fit(reader)
    with phase(f"evaluating {policy.agent}"):
        sums, overlap = _tally(reader, target, model)
    if not np.sum(sums.weight):
        raise InputError(f"agent {policy.agent} never takes an action that was logged; allowed: a policy that overlaps")
    content = _summarize(estimators.estimates(sums), sums, overlap, reader, model)
    content |= {
        "log": log,
        "logged_agent": logged.agent,
        "agent": policy.agent,
        "agent_settings": policy.agent_settings,
        "policy_from": policy_from,
        "policy_seed": policy_seed if policy_from else None,
        "only_seed": reader.only,
    }
    if learned is not None and learned.root == logged.seed and policy_seed < logged.seeds:
        content["warnings"].append(_same_data(learned))
    write_json(place, content)
    return content


def show(content: dict[str, Any], console: Console | None = None) -> None:
    """Print the table and the warnings of an evaluation."""
    console = console or Console()
    rows = [{"name": name, **content["estimates"][name]} for name in WORDS]
    columns: dict[str, Callable[[Any], str]] = {
        "": lambda row: WORDS[row["name"]],
        "reward\nper interaction": lambda row: reporting.format_estimate(
            {"mean": row["value"], "stderr": row["stderr"]}
        ),
        "95 %\ninterval": lambda row: "–" if row["low"] is None else f"{row['low']:.5g} to {row['high']:.5g}",
    }
    print_rows(console, rows, columns)
    print_plain(
        console,
        f"{content['interactions']:,} interactions, worth {content['effective_sample_size']:,.0f} of the target policy",
    )
    if content["only_seed"] is not None:
        print_plain(console, f"seed {content['only_seed']} of the log alone: each seed has a world of its own")
    for warning in content["warnings"]:
        print_plain(console, f"warning: {warning}", "yellow")


def _shared_seed(learned: Learned, seed: int, logged: Config) -> int:
    """Say which seed of the log has the hidden world that the policy has learnt.

    Raises:
        InputError: none has.
    """
    if learned.root != logged.seed:
        raise InputError(
            f"policy_from is a run with --seed {learned.root}, whose hidden worlds are not those of the log; "
            f"allowed: one with --seed {logged.seed}"
        )
    if seed >= logged.seeds:
        raise InputError(
            f"policy_seed is {seed}, whose hidden world is not in the log; allowed: 0 to {logged.seeds - 1}, its seeds"
        )
    return seed


def _same_data(learned: Learned) -> str:
    """Warn of a policy whose run shares keys with the log, and so users, arms and the noise of rewards."""
    words = "the policy learned from the interactions it is judged on, or from the same users and noise: "
    if learned.hidden:
        return words + "estimates are optimistic, and no other run knows this world"
    return words + "estimates are too high; allowed: a run with another --seed"


def fit(reader: Reader) -> RewardModel:
    """Fit the reward model to a log."""
    header = reader.header
    model = RewardModel(header.seeds, header.num_actions, header.user_dim, header.arm_dim)
    for rows in reader.rows():
        model.add(rows.seed, folds(rows, reader), np.asarray(rows.context.user), rows.taken(), rows.action, rows.reward)
    model.solve()
    return model


def spec_of(header: interaction_log.Header) -> Spec:
    """Say for what sizes an agent is built that acts on a log."""
    low, high = header.reward_range
    limits = (-np.inf if low is None else low, np.inf if high is None else high)
    return Spec(header.num_actions, header.user_dim, header.arm_dim, limits)


def _tally(reader: Reader, policy: Policy, model: RewardModel) -> tuple[Sums, Overlap]:
    """Sum up, within blocks of rounds of each seed, what the estimators need."""
    blocks, seeds = min(reader.rounds, BLOCKS), reader.header.seeds
    total, exact = np.zeros((len(Sums._fields), seeds * blocks)), reader.header.propensity_exact
    overlap, most = np.zeros(len(Overlap._fields)), users_at_a_time(reader.header)
    for rows in reader.rows():
        target, predicted, value, impossible = _judge(rows, folds(rows, reader), policy, model, most)
        place = rows.seed * blocks + rows.round.astype(np.int64) * blocks // reader.rounds
        numbers = {"propensity": rows.propensity, "reward": rows.reward, "target": target}
        total += np.stack(estimators.tally(place, seeds * blocks, **numbers, predicted=predicted, model=value))
        weight = target / rows.propensity
        overlap[1] = max(overlap[1], weight.max(initial=0))
        overlap[0] += np.sum(weight**2)
        # An estimated propensity may be 1 by chance, where the logged policy had a choice.
        overlap[2 if exact else 3] += impossible.sum() if exact else len(weight)
    table = total.reshape(-1, seeds, blocks)
    return Sums(*table[:, table[0].sum(axis=1) > 0]), Overlap(*overlap.tolist())


def users_at_a_time(header: interaction_log.Header) -> int:
    """Say of how many users an agent may hold the features of all arms, joined to the user's own, at a time."""
    return min(MOST_USERS, max(1, MOST_NUMBERS // (header.num_actions * (header.user_dim + header.arm_dim))))


def _judge(rows: Rows, fold: np.ndarray, policy: Policy, model: RewardModel, most: int) -> tuple[np.ndarray, ...]:
    """Find pi(a|x), q(x, a), sum_a pi(a|x) q(x, a), and pi of arms that the logged policy never takes there."""
    size = min(len(rows.action), most)
    found: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(rows.action), size):
        at = np.minimum(np.arange(start, start + size), len(rows.action) - 1)  # of one shape, so compiled once
        chance = np.asarray(policy(_some(rows.context, at)), np.float64)
        reward = model.predict(rows.seed[at], fold[at], np.asarray(rows.context.user)[at], rows.offered(at))
        taken = np.arange(size), rows.action[at]
        impossible = np.where(rows.propensity[at] >= 1, 1 - chance[taken], 0.0)
        parts = chance[taken], reward[taken], np.sum(chance * reward, axis=1), impossible
        found.append(tuple(part[: len(rows.action) - start] for part in parts))
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


def _summarize(
    found: dict[str, Estimate], sums: Sums, overlap: Overlap, reader: Reader, model: RewardModel
) -> dict[str, Any]:
    count = float(np.sum(sums.number))
    effective = float(np.sum(sums.weight)) ** 2 / overlap.squares
    return {
        "estimates": {name: _finite(estimate._asdict()) for name, estimate in found.items() if name in WORDS},
        "interactions": int(count),
        "rounds": reader.rounds,
        "seeds": len(sums.number),
        "effective_sample_size": effective,
        "mean_weight": _finite(found["mean_weight"]._asdict()),
        "largest_weight": overlap.largest,
        "impossible": overlap.impossible / count,
        "estimated_propensities": overlap.estimated / count,
        "reward_model": {"features": model.kind, "ridge": RIDGE, "folds": FOLDS},
        "warnings": list(_warnings(found, overlap, count, effective)),
    }


def _warnings(found: dict[str, Estimate], overlap: Overlap, count: float, effective: float) -> Iterator[str]:
    """Say where the numbers are not to be trusted."""
    weight = found["mean_weight"]
    if overlap.impossible > NOTABLE * count:
        share = overlap.impossible / count
        yield (
            f"no overlap: the logged policy had no choice (propensity 1), and {share:.1%} of what the policy does was "
            "never logged: IPS, SNIPS and DR mean nothing there, DM guesses"
        )
    if abs(weight.value - 1) > max(4 * weight.stderr, NOTABLE):
        yield (
            f"no overlap in places: weights average {weight.value:.3f} ± {weight.stderr:.3f}, not 1, so the log lacks "
            "what the policy does there: IPS and DR are biased"
        )
    if effective < LEAST_SAMPLE:
        yield f"{effective:,.0f} effective of {count:,.0f} interactions: all but DM, and their intervals, are unsafe"
    if overlap.estimated:
        yield "propensities are Monte Carlo estimates: the logged agent tells no exact ones"


def _some(context: Context, at: np.ndarray) -> Context:
    """Users of a context."""
    shared = context.catalogue
    return jax.tree.map(lambda x: jnp.asarray(x[at]), context._replace(catalogue=None))._replace(catalogue=shared)


def folds(rows: Rows, reader: Reader) -> np.ndarray:
    """Fold of each interaction in the fit of the reward model: rounds take turns, or users where there is one round."""
    return (rows.round if reader.rounds > 1 else np.arange(len(rows.round))) % FOLDS


def _finite(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}
