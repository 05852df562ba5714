"""Neural reward agents: a network predicts rewards, and a rule explores around its predictions."""

from collections.abc import Callable
from typing import Annotated, NamedTuple, cast

import jax.numpy as jnp
from annotated_types import Ge, doc
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import training
from jaxbandit.agents.models.networks import example, make_network
from jaxbandit.agents.models.training import Learned, Training, batch_of, make_learner
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced


class NeuralState(NamedTuple):
    """What a neural agent learns."""

    learned: Learned
    pulls: Float[Array, " K"]  # of each fixed arm (of each position where arms have features)
    updates: Int[Array, ""]


def neural_epsilon_greedy(
    spec: Spec,
    *,
    epsilon: settings.Epsilon = 0.1,
    learning_rate: settings.LearningRate = 0.003,
    network: training.Network = "common_tower",
    user_layers: training.UserLayers = (64, 32),
    arm_layers: training.ArmLayers = (64, 32),
    common_layers: training.CommonLayers = (32,),
    embedding_dim: training.EmbeddingDim = 32,
    loss: training.Loss = "mse",
    clip_norm: training.ClipNorm = 10.0,
    buffer_size: training.BufferSize = 0,
    minibatch_size: training.MinibatchSize = 128,
    train_steps: training.TrainSteps = 1,
    train_every: training.TrainEvery = 1,
    ties: settings.Ties = "random",
) -> Agent[NeuralState]:
    """Take the arm of the highest predicted reward, and with probability epsilon a uniform allowed arm."""
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)

    def choose(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.epsilon_greedy(key, context, values, settings.at_count(epsilon, state.updates), ties)

    def chances(context: Context, values: Array, state: NeuralState) -> Float[Array, "B K"]:
        probability = settings.at_count(epsilon, state.updates)
        return exploration.epsilon_greedy_probabilities(context, values, probability, ties)

    return _agent(spec, module, how, choose, chances)


def neural_boltzmann(
    spec: Spec,
    *,
    temperature: settings.Temperature = 0.1,
    learning_rate: settings.LearningRate = 0.003,
    network: training.Network = "common_tower",
    user_layers: training.UserLayers = (64, 32),
    arm_layers: training.ArmLayers = (64, 32),
    common_layers: training.CommonLayers = (32,),
    embedding_dim: training.EmbeddingDim = 32,
    loss: training.Loss = "mse",
    clip_norm: training.ClipNorm = 10.0,
    buffer_size: training.BufferSize = 0,
    minibatch_size: training.MinibatchSize = 128,
    train_steps: training.TrainSteps = 1,
    train_every: training.TrainEvery = 1,
) -> Agent[NeuralState]:
    """Draw an arm with probability softmax(predicted rewards / temperature)."""
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)

    def choose(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.boltzmann(key, context, values, settings.at_count(temperature, state.updates))

    def chances(context: Context, values: Array, state: NeuralState) -> Float[Array, "B K"]:
        return exploration.boltzmann_probabilities(context, values, settings.at_count(temperature, state.updates))

    return _agent(spec, module, how, choose, chances)


def neural_boltzmann_gumbel(
    spec: Spec,
    *,
    exploration_scale: Annotated[Traced, Ge(0), doc("C, width of the Gumbel noise of an arm pulled once")] = 1.0,
    learning_rate: settings.LearningRate = 0.003,
    network: training.Network = "common_tower",
    user_layers: training.UserLayers = (64, 32),
    arm_layers: training.ArmLayers = (64, 32),
    common_layers: training.CommonLayers = (32,),
    embedding_dim: training.EmbeddingDim = 32,
    loss: training.Loss = "mse",
    clip_norm: training.ClipNorm = 10.0,
    buffer_size: training.BufferSize = 0,
    minibatch_size: training.MinibatchSize = 128,
    train_steps: training.TrainSteps = 1,
    train_every: training.TrainEvery = 1,
    ties: settings.Ties = "random",
) -> Agent[NeuralState]:
    """Take argmax_a f_a + C / sqrt(N_a) Z_a, Z ~ Gumbel(0, 1), N_a pulls of arm a; an arm never pulled goes first.

    Where arms have features, N_a counts the pulls of the position in the offer: all positions are alike there.
    Source: Cesa-Bianchi et al. 2017.
    """
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)

    def choose(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.boltzmann_gumbel(key, context, values, state.pulls, exploration_scale, ties)

    return _agent(spec, module, how, choose)


def _agent(
    spec: Spec,
    module: nn.Module,
    how: Training,
    choose: Callable[..., Array],
    chances: Callable[[Context, Array, NeuralState], Array] | None = None,
) -> Agent[NeuralState]:
    """Predict by one network trained `how`; act by `choose`."""

    def predict(params: PyTree, context: Context, noise: bool = False) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, noise=noise))

    learner = make_learner(spec, how, lambda _, params, context: predict(params, context, how.noise))

    def init(key: Key[Array, ""]) -> NeuralState:
        learned = learner.init(module.init(key, example(spec), noise=how.noise))
        return NeuralState(learned, jnp.zeros(spec.num_actions), jnp.zeros((), jnp.int32))

    def select(key: Key[Array, ""], state: NeuralState, context: Context) -> Decision:
        return Decision(choose(key, context, predict(state.learned.params, context), state))

    def probabilities(state: NeuralState, context: Context) -> Float[Array, "B K"]:
        assert chances is not None
        return chances(context, predict(state.learned.params, context), state)

    def update(key: Key[Array, ""], state: NeuralState, seen: Interaction) -> NeuralState:
        learned = learner.learn(key, state.learned, batch_of(spec, seen), seen.weight, seen.round)
        # No product with one-hot rows: the choice of the arm would be fused into each of their elements.
        pulls = state.pulls.at[seen.action].add(seen.weight)
        return NeuralState(learned, pulls, state.updates + 1)

    return Agent(init, select, update, probabilities=probabilities if chances else None)
