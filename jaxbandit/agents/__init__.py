"""Agents: a factory each. The registry is the one place where they have names."""

from collections.abc import Callable

from jaxbandit.agents import baselines, ensemble, linear, neural, neural_ucb
from jaxbandit.types import Agent

AGENTS: dict[str, Callable[..., Agent]] = {
    "uniform": baselines.uniform,
    "oracle": baselines.oracle,
    "greedy": linear.greedy,
    "linucb": linear.linucb,
    "lints": linear.lints,
    "neural-epsilon-greedy": neural.neural_epsilon_greedy,
    "neural-boltzmann": neural.neural_boltzmann,
    "neural-boltzmann-gumbel": neural.neural_boltzmann_gumbel,
    "neural-dropout-ts": ensemble.neural_dropout_ts,
    "neural-ensemble-ts": ensemble.neural_ensemble_ts,
    "neural-ucb": neural_ucb.neural_ucb,
    "neural-ts": neural_ucb.neural_ts,
}
