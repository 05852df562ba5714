"""Agents: a factory each. The registry is the one place where they have names."""

from collections.abc import Callable

from jaxbandit.agents import (
    baselines,
    bernoulli,
    cascade,
    exp3,
    hybrid,
    inverse_gap,
    linear,
    logistic,
    mixture,
    neural,
    neural_ensemble,
    neural_linear,
    neural_ucb,
    nig_lints,
    nonstationary,
)
from jaxbandit.types import Agent

AGENTS: dict[str, Callable[..., Agent]] = {
    "uniform": baselines.uniform,
    "oracle": baselines.oracle,
    "best-fixed-arm": baselines.best_fixed_arm,
    "greedy": linear.greedy,
    "linucb": linear.linucb,
    "lints": linear.lints,
    "nig-lints": nig_lints.nig_lints,
    "hybrid-linucb": hybrid.hybrid_linucb,
    "sliding-window-linucb": nonstationary.sliding_window_linucb,
    "discounted-linucb": nonstationary.discounted_linucb,
    "squarecb": inverse_gap.squarecb,
    "falcon": inverse_gap.falcon,
    "logistic-ucb": logistic.logistic_ucb,
    "logistic-ts": logistic.logistic_ts,
    "bernoulli-ts": bernoulli.bernoulli_ts,
    "exp3": exp3.exp3,
    "exp3-mixture": mixture.exp3_mixture,
    "neural-epsilon-greedy": neural.neural_epsilon_greedy,
    "neural-boltzmann": neural.neural_boltzmann,
    "neural-boltzmann-gumbel": neural.neural_boltzmann_gumbel,
    "neural-dropout-ts": neural_ensemble.neural_dropout_ts,
    "neural-ensemble-ts": neural_ensemble.neural_ensemble_ts,
    "neural-linear-ts": neural_linear.neural_linear_ts,
    "neural-linucb": neural_linear.neural_linucb,
    "neural-ucb": neural_ucb.neural_ucb,
    "neural-ts": neural_ucb.neural_ts,
    "cascade-linucb": cascade.cascade_linucb,
    "cascade-plackett-luce": cascade.cascade_plackett_luce,
}
