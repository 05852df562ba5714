"""Agents: a factory each. The registry is the one place where they have names."""

from collections.abc import Callable

from jaxbandit.agents import baselines, bayes, linear, neural, neural_linear
from jaxbandit.types import Agent

AGENTS: dict[str, Callable[..., Agent]] = {
    "uniform": baselines.uniform,
    "oracle": baselines.oracle,
    "greedy": linear.greedy,
    "linucb": linear.linucb,
    "lints": linear.lints,
    "nig-lints": bayes.nig_lints,
    "neural-epsilon-greedy": neural.neural_epsilon_greedy,
    "neural-boltzmann": neural.neural_boltzmann,
    "neural-boltzmann-gumbel": neural.neural_boltzmann_gumbel,
    "neural-linear-ts": neural_linear.neural_linear_ts,
    "neural-linucb": neural_linear.neural_linucb,
}
