"""A mixture of agents by EXP3: which of them to follow is a bandit of its own. It knows nothing of what they learn."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le, doc
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError, unknown
from jaxbandit._core.hyperparameters import Form
from jaxbandit.agents import bounded, exploration
from jaxbandit.agents.exp3 import gains
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced


class MixtureState(NamedTuple):
    """What each agent has learned, and how well they did."""

    agents: tuple[Any, ...]
    gains: Float[Array, " J"]  # G, of which only differences matter; the highest is kept at 0
    temperature: Float[Array, ""]  # T


class Drawn(NamedTuple):
    """Which agent served each user, and what all of them want back."""

    agent: Int[Array, " B"]
    probability: Float[Array, " B"]
    memory: tuple[PyTree[Shaped[Array, "B ..."]], ...]


def exp3_mixture(
    spec: Spec,
    *,
    agents: Annotated[
        str, Form(r"[\w-]+(\+[\w-]+)+", "of two or more agents, as linucb+lints"), doc("agents, with their defaults")
    ] = "linucb+lints",
    forgetting: Annotated[Traced, Gt(0), Le(1), doc("factor of the gains of agents in each update")] = 0.999,
    least_temperature: Annotated[Traced, Gt(0), doc("temperature T of the choice of agents before it grows")] = 100.0,
    reward_low: bounded.RewardLow = None,
    reward_high: bounded.RewardHigh = None,
) -> Agent[MixtureState]:
    """Draw an agent j by softmax(G / T) for each user: only its arm is played, and only j learns from it.

    G_j <- forgetting (G_j + 1 - sum over its users of (1 - r) / p_j), T <- max(least_temperature, sqrt(T^2 + B)), with
    rewards scaled to [0, 1].
    Source: TF-Agents, Exp3MixtureAgent, where T is at least 1000.
    """
    bounds = bounded.reward_bounds(spec, reward_low, reward_high)
    parts = _make(spec._replace(reward_range=bounds), agents)

    def shares(state: MixtureState) -> Float[Array, " J"]:
        return jax.nn.softmax(state.gains / jnp.maximum(state.temperature, least_temperature))

    def select(key: Key[Array, ""], state: MixtureState, context: Context) -> Decision:
        keys = prng.split(key, len(parts) + 1)
        decisions = [part.select(keys[j], state.agents[j], context) for j, part in enumerate(parts)]
        probability = shares(state)
        drawn = exploration.draw(keys[-1], jnp.tile(probability[None], (context.user.shape[0], 1)))
        actions = jnp.stack([decision.action for decision in decisions])
        memory = tuple(decision.memory for decision in decisions)
        action = jnp.take_along_axis(actions, drawn[None], axis=0, mode="clip")[0]
        return Decision(action, Drawn(drawn, probability[drawn], memory))

    def update(key: Key[Array, ""], state: MixtureState, seen: Interaction) -> MixtureState:
        keys = prng.split(key, len(parts))
        learned = tuple(part.update(keys[j], state.agents[j], _own(seen, j)) for j, part in enumerate(parts))
        scaled = seen._replace(reward=bounded.to_unit(seen.reward, bounds))
        total = forgetting * (state.gains + _gains(scaled, len(parts)))
        served = jnp.sum(seen.weight > 0).astype(jnp.float32)
        temperature = jnp.maximum(least_temperature, jnp.sqrt(state.temperature**2 + served))
        return MixtureState(learned, total - jnp.max(total), temperature)

    def init(key: Key[Array, ""]) -> MixtureState:
        keys = prng.split(key, len(parts))
        states = tuple(part.init(keys[j]) for j, part in enumerate(parts))
        return MixtureState(states, jnp.zeros(len(parts)), jnp.zeros(()))

    def probabilities(state: MixtureState, context: Context) -> Float[Array, "B K"]:
        chances = [teller(own, context) for teller, own in zip(tellers, state.agents, strict=True)]
        return jnp.sum(shares(state)[:, None, None] * jnp.stack(chances), axis=0)

    tellers = [part.probabilities for part in parts if part.probabilities]
    told = probabilities if len(tellers) == len(parts) else None
    return Agent(init, select, update, privileged=any(part.privileged for part in parts), probabilities=told)


def _gains(seen: Interaction, num_agents: int) -> Float[Array, " J"]:
    """Sum estimates over users. Each adds 1 to every agent, the formula 1 for all users: differences are equal."""
    drawn: Drawn = seen.memory
    return jnp.sum(gains(num_agents, drawn.agent, seen.reward, drawn.probability) * seen.weight[:, None], axis=0)


def _own(seen: Interaction, part: int) -> Interaction:
    """Leave to one agent the users that it served, and what it wanted back."""
    drawn: Drawn = seen.memory
    return seen._replace(weight=jnp.where(drawn.agent == part, seen.weight, 0.0), memory=drawn.memory[part])


def _make(spec: Spec, agents: str) -> list[Agent]:
    """Make agents of the registry with their default settings.

    Raises:
        InputError: one is not registered, is a mixture itself, or does not go with this world.
    """
    from jaxbandit.agents import AGENTS  # it lists this module

    names = agents.split("+")
    for name in names:
        if name not in AGENTS:
            raise unknown("agent", name, AGENTS)
        if AGENTS[name] is exp3_mixture:
            raise InputError(f"agents is {agents!r}; allowed: agents that are no mixture themselves")
    return [AGENTS[name](spec) for name in names]
