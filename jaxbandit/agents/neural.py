"""Neural agents that explore around the predictions f_a of one network: epsilon-greedy and two Boltzmann rules.

The network is trained after every round, or as often as its settings say (`models.training`). Networks that are drawn
from a posterior are in `neural_ensemble`, confidence bounds in `neural_ucb`, linear models on top in `neural_linear`.
"""

from collections.abc import Callable
from typing import Annotated, NamedTuple, cast

import jax.numpy as jnp
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import groups
from jaxbandit.agents.models.networks import example, make_network
from jaxbandit.agents.models.training import Learned, TrainingSettings, batch_of, make_learner
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced


class NeuralState(NamedTuple):
    """What a neural agent learns."""

    learned: Learned
    pulls: Float[Array, " K"]  # of each fixed arm (of each position where arms have features)
    updates: Int[Array, ""]


class Rule(NamedTuple):
    """How arms are chosen once their rewards are predicted."""

    action: Callable[[Key[Array, ""], Context, Float[Array, "B K"], NeuralState], Int[Array, " B"]]
    probabilities: Callable[[Context, Float[Array, "B K"], NeuralState], Float[Array, "B K"]] | None = None


@flat_settings
def neural_epsilon_greedy(
    spec: Spec,
    *,
    epsilon: settings.Epsilon = 0.1,
    training: TrainingSettings = TrainingSettings(),
    ties: settings.Ties = "random",
) -> Agent[NeuralState]:
    """Take the arm of the highest predicted reward, and with probability epsilon a uniform allowed arm."""

    def action(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.epsilon_greedy(key, context, values, settings.at_count(epsilon, state.updates), ties)

    def probabilities(context: Context, values: Array, state: NeuralState) -> Float[Array, "B K"]:
        probability = settings.at_count(epsilon, state.updates)
        return exploration.epsilon_greedy_probabilities(context, values, probability, ties)

    return network_agent(spec, training, Rule(action, probabilities))


@flat_settings
def neural_boltzmann(
    spec: Spec, *, temperature: settings.Temperature = 0.1, training: TrainingSettings = TrainingSettings()
) -> Agent[NeuralState]:
    """Draw arm a with p_a = softmax_a(f_a / temperature), f_a the predicted rewards."""

    def action(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.boltzmann(key, context, values, settings.at_count(temperature, state.updates))

    def probabilities(context: Context, values: Array, state: NeuralState) -> Float[Array, "B K"]:
        return exploration.boltzmann_probabilities(context, values, settings.at_count(temperature, state.updates))

    return network_agent(spec, training, Rule(action, probabilities))


@flat_settings
def neural_boltzmann_gumbel(
    spec: Spec,
    *,
    exploration_scale: Annotated[Traced, Ge(0), doc("C, width of the Gumbel noise of an arm pulled once")] = 1.0,
    training: TrainingSettings = TrainingSettings(),
    ties: settings.Ties = "random",
) -> Agent[NeuralState]:
    """Take argmax_a f_a + C / sqrt(n_a) xi_a, xi_a ~ Gumbel(0, 1), n_a pulls of arm a; an arm never pulled goes first.

    C is `exploration_scale`. Where arms have features, n_a counts the pulls of the position in the offer: all positions
    are alike there.
    Source: Cesa-Bianchi, Gentile, Lugosi & Neu 2017, "Boltzmann exploration done right",
    https://arxiv.org/abs/1705.10257.
    """

    def action(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.boltzmann_gumbel(key, context, values, state.pulls, exploration_scale, ties)

    return network_agent(spec, training, Rule(action))


def network_agent(spec: Spec, training: TrainingSettings, rule: Rule) -> Agent[NeuralState]:
    """Predict by one network; act by `rule`."""
    module = make_network(spec, training.shape)

    def predict(params: PyTree, context: Context, noise: bool = False) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, noise=noise))

    learner = make_learner(spec, training, lambda _, params, context: predict(params, context, training.noise))

    def init(key: Key[Array, ""]) -> NeuralState:
        learned = learner.init(module.init(key, example(spec), noise=training.noise))
        return NeuralState(learned, jnp.zeros(spec.num_actions), jnp.zeros((), jnp.int32))

    def select(key: Key[Array, ""], state: NeuralState, context: Context) -> Decision:
        return Decision(rule.action(key, context, predict(state.learned.params, context), state))

    def probabilities(state: NeuralState, context: Context) -> Float[Array, "B K"]:
        assert rule.probabilities is not None
        return rule.probabilities(context, predict(state.learned.params, context), state)

    def update(key: Key[Array, ""], state: NeuralState, seen: Interaction) -> NeuralState:
        learned = learner.learn(key, state.learned, batch_of(spec, seen), seen.weight, seen.round)
        pulls = groups.add_rows(state.pulls, seen.action, seen.weight)
        return NeuralState(learned, pulls, state.updates + 1)

    return Agent(init, select, update, probabilities=probabilities if rule.probabilities else None)
