"""Agents: a factory each. The registry is the one place where they have names."""

from collections.abc import Callable

from jaxbandit.agents import (
    baselines,
    bayes,
    bernoulli,
    cascade,
    ensemble,
    exp3,
    hybrid,
    linear,
    logistic,
    mixture,
    neural,
    neural_linear,
    neural_ucb,
    square,
    window,
)
from jaxbandit.types import Agent

AGENTS: dict[str, Callable[..., Agent]] = {
    "uniform": baselines.uniform,
    "oracle": baselines.oracle,
    "best-fixed-arm": baselines.best_fixed_arm,
    "greedy": linear.greedy,
    "linucb": linear.linucb,
    "lints": linear.lints,
    "nig-lints": bayes.nig_lints,
    "hybrid-linucb": hybrid.hybrid_linucb,
    "sliding-window-linucb": window.sliding_window_linucb,
    "discounted-linucb": window.discounted_linucb,
    "squarecb": square.squarecb,
    "falcon": square.falcon,
    "logistic-ucb": logistic.logistic_ucb,
    "logistic-ts": logistic.logistic_ts,
    "bernoulli-ts": bernoulli.bernoulli_ts,
    "exp3": exp3.exp3,
    "exp3-mixture": mixture.exp3_mixture,
    "neural-epsilon-greedy": neural.neural_epsilon_greedy,
    "neural-boltzmann": neural.neural_boltzmann,
    "neural-boltzmann-gumbel": neural.neural_boltzmann_gumbel,
    "neural-dropout-ts": ensemble.neural_dropout_ts,
    "neural-ensemble-ts": ensemble.neural_ensemble_ts,
    "neural-linear-ts": neural_linear.neural_linear_ts,
    "neural-linucb": neural_linear.neural_linucb,
    "neural-ucb": neural_ucb.neural_ucb,
    "neural-ts": neural_ucb.neural_ts,
    "cascade-linucb": cascade.cascade_linucb,
    "cascade-plackett-luce": cascade.cascade_plackett_luce,
}
