"""A log and a policy -> what the policy would have earned on the logged users: a table, and evaluation.json.

The policy acts with one state, fresh or the last one of another run; it learns nothing from the log.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from operator import itemgetter
from typing import TypedDict

import numpy as np
from etils import epath
from rich.console import Console

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit._core.files import mounted, write_json
from jaxbandit.data.streams import without_packing
from jaxbandit.experiments import interaction_log, log_reader
from jaxbandit.experiments.config import Config, check_data, checked, read_config
from jaxbandit.experiments.console import phase
from jaxbandit.experiments.log_reader import Reader
from jaxbandit.experiments.world import build, world_difference
from jaxbandit.policies import estimators, log_sums
from jaxbandit.policies.estimators import Estimate, Sums
from jaxbandit.policies.log_sums import Overlap
from jaxbandit.policies.own_log import LogColumns, open_own_log
from jaxbandit.policies.reward_model import FOLDS, RIDGE, RewardModel
from jaxbandit.policies.trained import Learned, Policy, last_state, make_policy
from jaxbandit.reporting.console import print_rows
from jaxbandit.reporting.progress import print_plain

LEAST_SAMPLE = 100  # effective interactions, below which estimates are called unsafe
NOTABLE = 0.001  # share of the target's actions that the log lacks, above which a warning says so
Numbers = dict[str, float | None]  # an Estimate; JSON has no nan
WORDS = {
    "ips": "IPS, inverse propensity",
    "snips": "SNIPS, self-normalised",
    "dm": "DM, reward model",
    "dr": "DR, doubly robust",
    "logged": "the logged policy",
}


class Fit(TypedDict):
    """How the reward model was fitted."""

    features: str
    ridge: float
    folds: int


class Summary(TypedDict):
    """What evaluation.json says of the estimates."""

    estimates: dict[str, Numbers]  # by the names in WORDS
    interactions: int
    rounds: int
    seeds: int
    effective_sample_size: float
    mean_weight: Numbers
    largest_weight: float
    impossible: float  # share
    estimated_propensities: float  # share
    reward_model: Fit
    warnings: list[str]


class Evaluation(Summary):
    """The content of evaluation.json."""

    log: str
    logged_agent: str | None  # None: of a log of one's own
    agent: str
    agent_settings: Mapping[str, object]
    policy_from: str | None
    policy_seed: int | None
    only_seed: int | None  # the seed of the log that was evaluated; None: all


def evaluate(
    log: str,
    policy: Config,
    *,
    of_log: bool = True,
    policy_from: str | None = None,
    policy_seed: int = 0,
    samples: int = interaction_log.SAMPLES,
    out: str | None = None,
    columns: LogColumns | None = None,
) -> Evaluation:
    """Estimate what a policy would earn per interaction, write evaluation.json, and return its content.

    A log that is a file, or of which `columns` are named, is a table of one's own: see `own_log`.

    The policy is the agent of a config; with `of_log` it acts in the world of the log, else in that of the config,
    which must be the same. With `policy_from` its state is the last one of a run, of one of its seeds; where each seed
    has a hidden world of its own, only that seed of the log is evaluated.

    Raises:
        InputError: no log, another world, no such state, no overlap between the policy and the log.
    """
    directory = epath.Path(mounted(log))
    if columns is not None and directory.is_dir():
        raise InputError(f"log is {log!r}, of a run, whose columns are known; allowed: columns of a file of your own")
    if columns is not None or (directory.exists() and not directory.is_dir()):
        return _evaluate_own(log, policy, columns or LogColumns(), policy_from, policy_seed, samples, out)
    place = _place(out, directory / "evaluation.json")
    reader = log_reader.open_log(directory)
    logged = read_config(str(directory / "config.json"), kept=True)
    policy = _in_world_of(logged, log, policy, of_log)
    with phase(f"building {policy.agent}"):
        learned = None if policy_from is None else last_state(mounted(policy_from), policy, policy_seed)
        target = make_policy(policy, log_sums.spec_of(reader.header), learned and learned.state, samples)
    if learned is not None and learned.hidden:
        reader = replace(reader, only=_shared_seed(learned, policy_seed, logged))
    content: Evaluation = {
        **_estimate(reader, target, policy.agent),
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


def _evaluate_own(
    log: str,
    policy: Config,
    columns: LogColumns,
    policy_from: str | None,
    policy_seed: int,
    samples: int,
    out: str | None,
) -> Evaluation:
    """Evaluate the agent of a config, or what a run has taught it, on a table of one's own."""
    place = _place(out, epath.Path(f"{without_packing(mounted(log)).removesuffix('.csv')}.evaluation.json"))
    policy = checked(policy)
    with phase(f"building {policy.agent}"):
        spec = None if policy_from is None else build(policy).environment.spec
        reader = open_own_log(log, columns, spec)
        learned = None if policy_from is None else last_state(mounted(policy_from), policy, policy_seed)
        target = make_policy(policy, spec or log_sums.spec_of(reader.header), learned and learned.state, samples)
    content: Evaluation = {
        **_estimate(reader, target, policy.agent),
        "log": log,
        "logged_agent": None,
        "agent": policy.agent,
        "agent_settings": policy.agent_settings,
        "policy_from": policy_from,
        "policy_seed": policy_seed if policy_from else None,
        "only_seed": None,
    }
    write_json(place, content)
    return content


def _place(out: str | None, default: epath.Path) -> epath.Path:
    """Return where the evaluation goes.

    Raises:
        InputError: there is a directory.
    """
    place = epath.Path(mounted(out)) if out else default
    if place.is_dir():
        raise InputError(f"out is {str(place)!r}, a directory; allowed: a file, as evaluation.json")
    return place


def _in_world_of(logged: Config, log: str, policy: Config, of_log: bool) -> Config:
    """Check the config of a policy; with `of_log` it gets the world of the log.

    Raises:
        InputError: a bad config, or one of another world.
    """
    policy = checked(replace(policy, **asdict(logged.world)) if of_log else policy)
    if difference := world_difference(policy.world, logged.world):
        raise InputError(f"log is {log!r}, of another world than the policy ({difference}); allowed: one of its world")
    check_data(logged.fingerprints, policy.fingerprints)
    return policy


def _estimate(reader: Reader, target: Policy, agent: str) -> Summary:
    """Fit the reward model and estimate what the target policy is worth.

    Raises:
        InputError: no logged action is one that the target policy takes.
    """
    with phase("fitting the reward model"):
        model = log_sums.fit(reader)
    with phase(f"evaluating {agent}"):
        sums, overlap = log_sums.tally(reader, target, model)
    if not np.sum(sums.weight):
        raise InputError(f"agent {agent} never takes an action that was logged; allowed: a policy that overlaps")
    return _summarize(estimators.estimates(sums), sums, overlap, reader, model)


def show(content: Evaluation, console: Console | None = None) -> None:
    """Print the table and the warnings of an evaluation."""
    console = console or Console()
    rows = [_cells(name, content["estimates"][name]) for name in WORDS]
    print_rows(console, rows, {heading: itemgetter(heading) for heading in rows[0]})
    print_plain(
        console,
        f"{content['interactions']:,} interactions, worth {content['effective_sample_size']:,.0f} of the target policy",
    )
    if content["only_seed"] is not None:
        print_plain(console, f"seed {content['only_seed']} of the log alone: each seed has a world of its own")
    for warning in content["warnings"]:
        print_plain(console, f"warning: {warning}", "yellow")


def _cells(name: str, estimate: Numbers) -> dict[str, str]:
    """Heading -> text of an estimate."""
    low, high = estimate["low"], estimate["high"]
    value = reporting.format_estimate({"mean": estimate["value"], "stderr": estimate["stderr"]})
    interval = "–" if low is None or high is None else f"{low:.5g} to {high:.5g}"
    return {"": WORDS[name], "reward\nper interaction": value, "95 %\ninterval": interval}


def _shared_seed(learned: Learned, seed: int, logged: Config) -> int:
    """Return the seed of the log whose hidden world is the one that the policy was trained in.

    Raises:
        InputError: there is none.
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


def _summarize(
    estimates: dict[str, Estimate], sums: Sums, overlap: Overlap, reader: Reader, model: RewardModel
) -> Summary:
    """Gather estimates, overlap and warnings.

    The effective sample size is (sum w)² / sum w², that of Kish 1965, "Survey Sampling" (Wiley).
    """
    count = float(np.sum(sums.number))
    effective = float(np.sum(sums.weight)) ** 2 / overlap.squares
    return {
        "estimates": {name: _finite(estimate._asdict()) for name, estimate in estimates.items() if name in WORDS},
        "interactions": int(count),
        "rounds": reader.rounds,
        "seeds": len(sums.number),
        "effective_sample_size": effective,
        "mean_weight": _finite(estimates["mean_weight"]._asdict()),
        "largest_weight": overlap.largest,
        "impossible": overlap.impossible / count,
        "estimated_propensities": overlap.estimated / count,
        "reward_model": {"features": model.kind, "ridge": RIDGE, "folds": FOLDS},
        "warnings": list(_warnings(estimates, overlap, count, effective)),
    }


def _warnings(estimates: dict[str, Estimate], overlap: Overlap, count: float, effective: float) -> Iterator[str]:
    """Say why estimates are not to be trusted."""
    weight = estimates["mean_weight"]
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


def _finite(numbers: Mapping[str, float]) -> Numbers:
    return {name: value if np.isfinite(value) else None for name, value in numbers.items()}
