"""Neural reward agents: a network predicts rewards, one optimizer step per batch trains it, a rule explores."""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, doc
from flax import linen as nn
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit import exploration, features
from jaxbandit.agents import settings
from jaxbandit.hyperparameters import Traced
from jaxbandit.networks import CommonTower, DotProduct, FixedArms
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec

Network = Annotated[
    Literal["common_tower", "dot_product"],
    doc("how user and arm meet (per-arm environments; fixed arms: user -> K values)"),
]
UserLayers = Annotated[tuple[int, ...], doc("widths of the user tower, and of the whole network where arms are fixed")]
ArmLayers = Annotated[tuple[int, ...], doc("widths of the arm tower")]
CommonLayers = Annotated[tuple[int, ...], doc("widths of the common tower")]
EmbeddingDim = Annotated[int, Ge(1), doc("width of both embeddings of dot_product")]
Loss = Annotated[Literal["mse", "huber"], doc("loss of predicted rewards")]
ClipNorm = Annotated[Traced, Gt(0), doc("global norm to which gradients are clipped")]


class NeuralState(NamedTuple):
    """What a neural agent learns."""

    params: PyTree
    optimizer: PyTree
    pulls: Float[Array, " K"]  # of each fixed arm (of each position where arms have features)
    updates: Int[Array, ""]


def neural_epsilon_greedy(
    spec: Spec,
    *,
    epsilon: settings.Epsilon = 0.1,
    learning_rate: settings.LearningRate = 0.003,
    network: Network = "common_tower",
    user_layers: UserLayers = (64, 32),
    arm_layers: ArmLayers = (64, 32),
    common_layers: CommonLayers = (32,),
    embedding_dim: EmbeddingDim = 32,
    loss: Loss = "mse",
    clip_norm: ClipNorm = 10.0,
    ties: settings.Ties = "random",
) -> Agent:
    """Take the arm of the highest predicted reward, and with probability epsilon a uniform allowed arm."""
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)

    def choose(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.epsilon_greedy(key, context, values, settings.at_count(epsilon, state.updates), ties)

    def chances(context: Context, values: Array, state: NeuralState) -> Float[Array, "B K"]:
        probability = settings.at_count(epsilon, state.updates)
        return exploration.epsilon_greedy_probabilities(context, values, probability, ties)

    return _agent(spec, module, learning_rate, clip_norm, loss, choose, chances)


def neural_boltzmann(
    spec: Spec,
    *,
    temperature: settings.Temperature = 0.1,
    learning_rate: settings.LearningRate = 0.003,
    network: Network = "common_tower",
    user_layers: UserLayers = (64, 32),
    arm_layers: ArmLayers = (64, 32),
    common_layers: CommonLayers = (32,),
    embedding_dim: EmbeddingDim = 32,
    loss: Loss = "mse",
    clip_norm: ClipNorm = 10.0,
) -> Agent:
    """Draw an arm with probability softmax(predicted rewards / temperature)."""
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)

    def choose(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.boltzmann(key, context, values, settings.at_count(temperature, state.updates))

    def chances(context: Context, values: Array, state: NeuralState) -> Float[Array, "B K"]:
        return exploration.boltzmann_probabilities(context, values, settings.at_count(temperature, state.updates))

    return _agent(spec, module, learning_rate, clip_norm, loss, choose, chances)


def neural_boltzmann_gumbel(
    spec: Spec,
    *,
    exploration_scale: Annotated[Traced, Ge(0), doc("C, width of the Gumbel noise of an arm pulled once")] = 1.0,
    learning_rate: settings.LearningRate = 0.003,
    network: Network = "common_tower",
    user_layers: UserLayers = (64, 32),
    arm_layers: ArmLayers = (64, 32),
    common_layers: CommonLayers = (32,),
    embedding_dim: EmbeddingDim = 32,
    loss: Loss = "mse",
    clip_norm: ClipNorm = 10.0,
    ties: settings.Ties = "random",
) -> Agent:
    """Take argmax_a f_a + C / sqrt(N_a) Z_a, Z ~ Gumbel(0, 1), N_a pulls of arm a; an arm never pulled goes first.

    Where arms have features, N_a counts the pulls of the position in the offer: all positions are alike there.
    Source: Cesa-Bianchi et al. 2017.
    """
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)

    def choose(key: Key[Array, ""], context: Context, values: Array, state: NeuralState) -> Int[Array, " B"]:
        return exploration.boltzmann_gumbel(key, context, values, state.pulls, exploration_scale, ties)

    return _agent(spec, module, learning_rate, clip_norm, loss, choose)


def make_network(
    spec: Spec,
    network: str,
    user_layers: tuple[int, ...],
    arm_layers: tuple[int, ...],
    common_layers: tuple[int, ...],
    embedding_dim: int,
) -> nn.Module:
    """Make the module that fits the spec: context -> predicted rewards [B, K]."""
    if spec.arm_dim == 0:
        return FixedArms(user_layers, spec.num_actions)
    if network == "dot_product":
        return DotProduct(user_layers, arm_layers, embedding_dim)
    return CommonTower(user_layers, arm_layers, common_layers)


def _agent(
    spec: Spec,
    module: nn.Module,
    learning_rate: settings.Scheduled,
    clip_norm: Traced,
    loss: str,
    choose: Callable[[Any, Context, Array, NeuralState], Array],
    chances: Callable[[Context, Array, NeuralState], Array] | None = None,
) -> Agent:
    """Train `module` by one Adam step per update on mean w loss(r, f(x)[a]); act by `choose`."""
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate))
    error = {"mse": optax.squared_error, "huber": optax.huber_loss}[loss]

    def init(key: Key[Array, ""]) -> NeuralState:
        params = module.init(key, _example(spec))
        return NeuralState(params, optimizer.init(params), jnp.zeros(spec.num_actions), jnp.zeros((), jnp.int32))

    def predict(params: PyTree, context: Context) -> Float[Array, "B K"]:
        return cast(Array, module.apply(params, context))

    def select(key: Key[Array, ""], state: NeuralState, context: Context) -> Decision:
        return Decision(choose(key, context, predict(state.params, context), state))

    def probabilities(state: NeuralState, context: Context) -> Float[Array, "B K"]:
        assert chances is not None
        return chances(context, predict(state.params, context), state)

    def update(key: Key[Array, ""], state: NeuralState, seen: Interaction) -> NeuralState:
        def mean_loss(params: PyTree) -> Float[Array, ""]:
            predicted = predict(params, taken(seen.context, seen.action))
            predicted = predicted[:, 0] if spec.arm_dim else _at(predicted, seen.action)
            return jnp.mean(seen.weight * error(predicted, seen.reward))

        grads = jax.grad(mean_loss)(state.params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            steps, optimizer_state = optimizer.update(grads, state.optimizer, state.params)
        pulls = state.pulls + seen.weight @ jax.nn.one_hot(seen.action, spec.num_actions)
        return NeuralState(optax.apply_updates(state.params, steps), optimizer_state, pulls, state.updates + 1)

    return Agent(init, select, update, probabilities=probabilities if chances else None)


def taken(context: Context, action: Int[Array, " B"]) -> Context:
    """Reduce a context to the arms that were taken, so that training touches no others."""
    if context.catalogue is None and context.arms is None:
        return context
    arms = features.chosen(context, action)[:, None]
    return Context(user=context.user, user_id=context.user_id, arms=arms)


def _at(values: Float[Array, "B K"], action: Int[Array, " B"]) -> Float[Array, " B"]:
    return jnp.take_along_axis(values, action[:, None], axis=1, mode="clip")[:, 0]


def _example(spec: Spec) -> Context:
    arms = jnp.zeros((1, spec.num_actions, spec.arm_dim)) if spec.arm_dim else None
    return Context(user=jnp.zeros((1, spec.user_dim)), user_id=jnp.zeros(1, jnp.int32), arms=arms)
