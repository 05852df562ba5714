"""A mixture of agents by EXP3: which of them to follow is a bandit of its own. It knows nothing of what they learn."""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import jax.numpy as jnp
from annotated_types import Gt, Le, doc
from jaxtyping import Array, Float, Int, Key, PyTree, Shaped

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError, unknown
from jaxbandit._core.hyperparameters import Form, flat_settings
from jaxbandit._core.selection import entries
from jaxbandit.agents import settings, whole_numbers
from jaxbandit.agents.exp3 import gains
from jaxbandit.agents.settings import RewardRange
from jaxbandit.types import Agent, Context, Decision, Interaction, Probabilities, Spec, Traced


class MixtureState(NamedTuple):
    """What each agent has learned, and how well they did."""

    agents: tuple[PyTree, ...]
    gains: Float[Array, " J"]  # G, of which only differences matter; the highest is kept at 0
    squared_temperature: Float[Array, ""]  # T^2, a sum of whole numbers


class Drawn(NamedTuple):
    """Which agent served each user, and what all of them want back."""

    agent: Int[Array, " B"]
    probability: Float[Array, " B"]
    memory: tuple[PyTree[Shaped[Array, "B ..."]], ...]


@flat_settings
def exp3_mixture(
    spec: Spec,
    *,
    agents: Annotated[
        str, Form(r"[\w-]+(\+[\w-]+)+", "of two or more agents, as linucb+lints"), doc("agents, with their defaults")
    ] = "linucb+lints",
    forgetting: Annotated[Traced, Gt(0), Le(1), doc("factor of the gains of agents in each update")] = 0.999,
    least_temperature: Annotated[Traced, Gt(0), doc("temperature T of the choice of agents before it grows")] = 100.0,
    rewards: RewardRange = RewardRange(),
) -> Agent[MixtureState]:
    """Draw an agent j by softmax(G / T) for each user: only its arm is played, and only j learns from it.

    G_j <- forgetting (G_j + 1 - sum over its users of (1 - r) / p_j), T <- max(least_temperature, sqrt(T^2 + B)), p_j
    the probability of agent j, with rewards scaled to [0, 1]. p_j and the sum are rounded as EXP3's are.
    Source: Guadarrama et al. 2018, TF-Agents, Exp3MixtureAgent, where T is at least 1000,
    https://github.com/tensorflow/agents.
    """
    bounds = settings.reward_bounds(spec, rewards)
    parts = _make(spec._replace(reward_range=bounds), agents)

    def update(key: Key[Array, ""], state: MixtureState, seen: Interaction) -> MixtureState:
        keys = prng.split(key, len(parts))
        learned = tuple(part.update(keys[j], state.agents[j], _own(seen, j)) for j, part in enumerate(parts))
        scaled = seen._replace(reward=settings.to_unit(seen.reward, bounds))
        total = state.gains + _gains(scaled, len(parts))
        served = jnp.sum(seen.weight > 0).astype(jnp.float32)
        squared = jnp.maximum(least_temperature**2, state.squared_temperature + served)
        return MixtureState(learned, forgetting * (total - jnp.max(total)), squared)

    def init(key: Key[Array, ""]) -> MixtureState:
        keys = prng.split(key, len(parts))
        states = tuple(part.init(keys[j]) for j, part in enumerate(parts))
        return MixtureState(states, jnp.zeros(len(parts)), jnp.zeros(()))

    return Agent(
        init,
        lambda key, state, context: _select(key, parts, _shares(state, least_temperature), state, context),
        update,
        privileged=any(part.privileged for part in parts),
        probabilities=_probabilities(parts, least_temperature),
    )


def _shares(state: MixtureState, least_temperature: Traced) -> Float[Array, " J"]:
    """Probabilities p_j of the agents."""
    squared = jnp.maximum(state.squared_temperature, least_temperature**2)
    return whole_numbers.softmax(state.gains, 1 / jnp.sqrt(squared))


def _select(
    key: Key[Array, ""], parts: Sequence[Agent], shares: Float[Array, " J"], state: MixtureState, context: Context
) -> Decision:
    """Draw an agent for each user and play its arm."""
    keys = prng.split(key, len(parts) + 1)
    decisions = [part.select(keys[j], state.agents[j], context) for j, part in enumerate(parts)]
    drawn = whole_numbers.draw(keys[-1], jnp.tile(shares[None], (context.user.shape[0], 1)))
    actions = jnp.stack([decision.action for decision in decisions], axis=-1)
    memory = tuple(decision.memory for decision in decisions)
    share = entries(jnp.broadcast_to(shares, actions.shape), drawn)
    return Decision(entries(actions, drawn), Drawn(drawn, share, memory))


def _probabilities(parts: Sequence[Agent], least_temperature: Traced) -> Probabilities[MixtureState] | None:
    """Mix the probabilities of all agents by their shares; None where an agent cannot tell its own."""
    exact = [part.probabilities for part in parts if part.probabilities]
    if len(exact) < len(parts):
        return None

    def probabilities(state: MixtureState, context: Context) -> Float[Array, "B K"]:
        each = [one(learned, context) for one, learned in zip(exact, state.agents, strict=True)]
        return jnp.sum(_shares(state, least_temperature)[:, None, None] * jnp.stack(each), axis=0)

    return probabilities


def _gains(seen: Interaction, num_agents: int) -> Float[Array, " J"]:
    """Sum estimates over users. Each adds 1 to every agent, the formula 1 for all users: differences are equal."""
    drawn: Drawn = seen.memory
    return whole_numbers.total(gains(num_agents, drawn.agent, seen.reward, drawn.probability) * seen.weight[:, None])


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
