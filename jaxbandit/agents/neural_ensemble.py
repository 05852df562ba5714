"""Thompson sampling by drawing a network for each user: a dropout mask, or a member of a bootstrapped ensemble."""

from functools import partial
from math import e, factorial
from typing import Annotated, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Lt, doc
from jaxtyping import Array, Float, Key, PyTree

from jaxbandit._core import prng
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.models import training
from jaxbandit.agents.models.networks import example, make_network
from jaxbandit.agents.models.training import Learned, Training, batch_of, context_of, make_learner, taken
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced

Bootstrap = Literal["poisson", "exponential"]
POISSON = np.cumsum([1 / (e * factorial(k)) for k in range(11)])  # P(X <= k) of Poisson(1); beyond it is 1 in float32


class EnsembleState(NamedTuple):
    """What an ensemble learns, and the random functions that it keeps."""

    learned: Learned
    prior: PyTree  # parameters that are never trained; () without randomised priors


def neural_dropout_ts(
    spec: Spec,
    *,
    dropout_rate: Annotated[Traced, Ge(0), Lt(1), doc("probability that a hidden unit is dropped")] = 0.2,
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
) -> Agent[Learned]:
    """Take argmax_a f(x, a) of the network thinned by dropout, with a fresh mask for each user.

    The same masks regularise training. The arm tower is never masked, so that an item is encoded once.
    Source: Gal & Ghahramani 2016; Riquelme et al. 2018.
    """
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)

    def predict(
        key: Key[Array, ""], params: PyTree, context: Context, noise: bool = False
    ) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, dropout_rate, noise, rngs={"dropout": key}))

    learner = make_learner(spec, how, partial(predict, noise=how.noise))

    def select(key: Key[Array, ""], state: Learned, context: Context) -> Decision:
        mask_key, tie_key = prng.split(key)
        values = predict(mask_key, state.params, context)
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, values), ties))

    return Agent(
        init=lambda key: learner.init(module.init(key, example(spec), noise=how.noise)),
        select=select,
        update=lambda key, state, seen: learner.learn(key, state, batch_of(spec, seen), seen.weight, seen.round),
    )


def neural_ensemble_ts(
    spec: Spec,
    *,
    num_networks: Annotated[int, Ge(1), doc("networks of the ensemble")] = 10,
    bootstrap: Annotated[Bootstrap, doc("sample weights of a reward in each network, of mean 1")] = "poisson",
    randomized_priors: Annotated[bool, doc("add a random function to each network that is never trained")] = False,
    prior_scale: Annotated[Traced, Ge(0), doc("scale of these random functions")] = 1.0,
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
) -> Agent[EnsembleState]:
    """Take argmax_a f_j(x, a), j one of q networks for each user; network j weighs a reward by Poisson(1) or Exp(1).

    Randomised priors: f_j + prior_scale p_j in place of f_j, p_j a network that keeps its first parameters.
    Source: Osband & Van Roy 2015 (bootstrap); Osband et al. 2018 (priors).
    """
    module = make_network(spec, network, user_layers, arm_layers, common_layers, embedding_dim)
    how = Training(learning_rate, loss, clip_norm, buffer_size, minibatch_size, train_steps, train_every)

    def predict(params: PyTree, context: Context, noise: bool = False) -> Float[Array, "*heads B K"]:
        return cast(Array, module.apply(params, context, noise=noise))

    def prior_values(prior: PyTree, context: Context) -> Float[Array, "q B K"]:
        return prior_scale * jax.vmap(predict, (0, None))(prior, context)

    learner = make_learner(spec, how, lambda _, params, context: predict(params, context, how.noise), num_networks)

    def init(key: Key[Array, ""]) -> EnsembleState:
        def start(key: Key[Array, ""], noise: bool) -> PyTree:
            return jax.vmap(lambda one: module.init(one, example(spec), noise=noise))(prng.split(key, num_networks))

        trained_key, prior_key = prng.split(key)
        prior = start(prior_key, noise=False) if randomized_priors else ()
        return EnsembleState(learner.init(start(trained_key, how.noise)), prior)

    def select(key: Key[Array, ""], state: EnsembleState, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        values = jax.vmap(predict, (0, None))(state.learned.params, context)
        values = values + prior_values(state.prior, context) if randomized_priors else values
        users = jnp.arange(values.shape[1], dtype=jnp.int32)
        drawn = values[jax.random.randint(draw_key, users.shape, 0, num_networks), users]
        return Decision(exploration.greedy(tie_key, exploration.allowed(context, drawn), ties))

    def update(key: Key[Array, ""], state: EnsembleState, seen: Interaction) -> EnsembleState:
        weight_key, learn_key = prng.split(key)
        batch = batch_of(spec, seen)
        weight = seen.weight[:, None] * sample_weights(weight_key, bootstrap, (seen.weight.shape[0], num_networks))
        reward = jnp.broadcast_to(seen.reward[:, None], weight.shape)
        if randomized_priors:  # f_j learns what is left of the reward
            values = prior_values(state.prior, context_of(spec, batch.user, batch.arm))
            reward = reward - taken(spec, values, batch.arm).T
        batch = batch._replace(reward=reward, weight=weight)
        return EnsembleState(learner.learn(learn_key, state.learned, batch, seen.weight, seen.round), state.prior)

    return Agent(init, select, update)


def sample_weights(key: Key[Array, ""], bootstrap: Bootstrap, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Draw the weights of an online bootstrap, of mean 1: Poisson(1) or Exp(1)."""
    if bootstrap == "exponential":
        return jax.random.exponential(key, shape)
    edges = jnp.asarray(POISSON, jnp.float32)
    return jnp.searchsorted(edges, jax.random.uniform(key, shape), "right", method="compare_all").astype(jnp.float32)
