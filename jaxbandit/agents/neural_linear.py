"""Linear bandits on the last hidden layer z_a of a network: NeuralLinear (NIG Thompson sampling) and NeuralLinUCB.

M and theta are those of linear models with z_a in place of x_a. What is known of z is made anew from stored
interactions when the network has changed; no gradient flows from the linear models into the network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, doc
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, nig_lints, settings
from jaxbandit.agents.models import encoder as encoding
from jaxbandit.agents.models import gaussian, normal_inverse_gamma, replay
from jaxbandit.agents.models.encoder import Encoder
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.agents.models.normal_inverse_gamma import NIG
from jaxbandit.agents.models.replay import Replay
from jaxbandit.agents.models.training import Trained, make_step
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced

HiddenLayers = Annotated[tuple[int, ...], doc("widths of the encoder; the last one is the dimension of z")]
BufferSize = Annotated[int, Ge(1), doc("interactions that are stored; the oldest make room")]


@dataclass(frozen=True)
class NeuralLinearSettings:
    """Settings of neural-linear-ts."""

    a0: nig_lints.A0 = 12.0
    b0: nig_lints.B0 = 30.0
    tikhonov_weight: settings.TikhonovWeight = 23.0
    learning_rate: Annotated[Traced, Gt(0), doc("step size of RMSprop")] = 0.01
    clip_norm: settings.ClipNorm = 5.0
    hidden_layers: HiddenLayers = (100, 100)
    train_every: Annotated[int, Ge(1), doc("rounds from one training of the encoder to the next")] = 20
    train_steps: settings.TrainSteps = 50
    minibatch_size: settings.MinibatchSize = 512
    reset: Annotated[bool, doc("forget RMSprop's second moments before each training")] = True
    buffer_size: BufferSize = 16384
    initial_pulls: nig_lints.InitialPulls = 2
    ties: settings.Ties = "random"


@dataclass(frozen=True)
class NeuralLinUCBSettings:
    """Settings of neural-linucb."""

    alpha: settings.Alpha = 1.0
    epsilon: settings.Epsilon = 0.1
    tikhonov_weight: settings.TikhonovWeight = 1.0
    learning_rate: settings.LearningRate = 0.003
    clip_norm: settings.ClipNorm = 10.0
    hidden_layers: HiddenLayers = (64, 32)
    encoder_rounds: Annotated[int, Ge(0), doc("rounds that train the encoder, before it is frozen")] = 500
    warm_start: Annotated[bool, doc("LinUCB begins with the stored interactions of these rounds")] = True
    buffer_size: BufferSize = 16384
    ties: settings.Ties = "random"


class Sampling(NamedTuple):
    """What neural-linear-ts learns."""

    params: PyTree
    optimizer: PyTree
    memory: Replay
    posterior: NIG
    served: Int[Array, ""]  # users so far, at most as many as the round robin serves


class Bounding(NamedTuple):
    """What neural-linucb learns."""

    params: PyTree
    optimizer: PyTree
    memory: Replay
    posterior: Posterior
    updates: Int[Array, ""]
    frozen: Bool[Array, ""]  # the encoder is


@flat_settings
def neural_linear_ts(spec: Spec, *, own: NeuralLinearSettings = NeuralLinearSettings()) -> Agent[Sampling]:
    """Draw as nig-lints does on z_a, the last hidden layer of a network that is trained every `train_every` rounds.

    After a training all stored contexts are encoded again and the posteriors made anew. z has no intercept.
    Source: Riquelme, Tucker & Snoek 2018, "Deep Bayesian bandits showdown", NeuralLinear,
    https://arxiv.org/abs/1802.09127.
    """
    encoder = encoding.make_encoder(spec, own.hidden_layers, own.buffer_size)
    optimizer = optax.chain(
        optax.clip_by_global_norm(own.clip_norm),
        optax.scale_by_rms(initial_scale=1.0),  # as TensorFlow's RMSprop starts
        optax.scale_by_learning_rate(own.learning_rate),
    )
    train = _training(encoder, optimizer, own)
    empty = normal_inverse_gamma.init(encoder.dim, encoder.num_models, own.tikhonov_weight)
    learn = partial(normal_inverse_gamma.update, tikhonov_weight=own.tikhonov_weight)

    def init(key: Key[Array, ""]) -> Sampling:
        params = encoder.init(key)
        return Sampling(params, optimizer.init(params), encoder.memory(), empty, jnp.zeros((), jnp.int32))

    def update(key: Key[Array, ""], state: Sampling, seen: Interaction) -> Sampling:
        examples = encoder.examples(seen)
        memory = replay.add(state.memory, examples, examples.weight)

        def go_on(trained: tuple[PyTree, PyTree, NIG]) -> tuple[PyTree, PyTree, NIG]:
            params, optimizer_state, known = trained
            z, _ = encoder.encode(params, examples)
            return params, optimizer_state, learn(known, examples.model, z, examples.reward, examples.weight)

        @jax.named_scope(f"once_in_{own.train_every}_rounds")  # for those who read the compiled program
        def retrain(trained: tuple[PyTree, PyTree, NIG]) -> tuple[PyTree, PyTree, NIG]:
            params, optimizer_state = train(key, trained[:2], memory)
            return params, optimizer_state, encoding.fold(encoder, params, memory, seen, empty, learn)

        trained = (state.params, state.optimizer, state.posterior)
        params, optimizer_state, known = jax.lax.cond((seen.round + 1) % own.train_every == 0, retrain, go_on, trained)
        served = nig_lints.count_served(spec, state.served, seen, own.initial_pulls)
        return Sampling(params, optimizer_state, memory, known, served)

    return Agent(init, lambda key, state, context: _sample(key, spec, own, encoder, state, context), update)


def _sample(
    key: Key[Array, ""], spec: Spec, own: NeuralLinearSettings, encoder: Encoder, state: Sampling, context: Context
) -> Decision:
    """Take the best arm of a draw from the posterior for each user, after the round robin of fixed arms."""
    draw_key, tie_key = prng.split(key)
    z, _ = encoder.offered(state.params, context)
    if spec.arm_dim:
        theta = normal_inverse_gamma.sample_parameters(draw_key, state.posterior, own.a0, own.b0, z.shape[0])
        scores = exploration.allowed(context, einsum("bkd,bd->bk", z, theta))
    else:
        scores = normal_inverse_gamma.sample_scores(draw_key, state.posterior, z, own.a0, own.b0)
        scores = nig_lints.round_robin(context, scores, state.served, own.initial_pulls)
    return Decision(exploration.greedy(tie_key, scores, own.ties))


def _training(
    encoder: Encoder, optimizer: optax.GradientTransformation, own: NeuralLinearSettings
) -> Callable[[Key[Array, ""], Trained, Replay], Trained]:
    """Make the training of an encoder on minibatches of what is stored."""
    step = make_step(optimizer, encoding.mean_loss(encoder))

    def train(key: Key[Array, ""], trained: Trained, memory: Replay) -> Trained:
        params, optimizer_state = trained

        def one(number: Int[Array, ""], trained: Trained) -> Trained:
            minibatch_key = prng.fold_in(key, number)
            return step(minibatch_key, trained, replay.sample(minibatch_key, memory, own.minibatch_size))

        start = optimizer.init(params) if own.reset else optimizer_state
        return jax.lax.fori_loop(0, own.train_steps, one, (params, start))

    return train


@flat_settings
def neural_linucb(spec: Spec, *, own: NeuralLinUCBSettings = NeuralLinUCBSettings()) -> Agent[Bounding]:
    """Train an encoder z_a epsilon-greedily for `encoder_rounds` rounds, then freeze it and run LinUCB on z_a.

    One step of Adam per round trains it. TF-Agents throws the interactions of these rounds away (`warm_start=False`).
    Source: Xu, Wen, Zhao & Gu 2020, "Neural contextual bandits with deep representation and shallow exploration",
    https://arxiv.org/abs/2012.01780.
    """
    encoder = encoding.make_encoder(spec, own.hidden_layers, own.buffer_size if own.warm_start else 1)
    optimizer = optax.chain(optax.clip_by_global_norm(own.clip_norm), optax.adam(own.learning_rate))
    step = make_step(optimizer, encoding.mean_loss(encoder))
    empty = gaussian.init(encoder.dim, encoder.num_models)

    def init(key: Key[Array, ""]) -> Bounding:
        params = encoder.init(key)
        frozen = jnp.array(own.encoder_rounds == 0)
        return Bounding(params, optimizer.init(params), encoder.memory(), empty, jnp.zeros((), jnp.int32), frozen)

    def update(key: Key[Array, ""], state: Bounding, seen: Interaction) -> Bounding:
        examples = encoder.examples(seen)
        # Once the encoder is frozen nobody reads the buffer. A loop of one turn or none: compilers change it in place.
        turns = (seen.round < own.encoder_rounds).astype(jnp.int32)
        memory = jax.lax.fori_loop(0, turns, lambda _, old: replay.add(old, examples, examples.weight), state.memory)

        def encode(learned: tuple[PyTree, PyTree, Posterior]) -> tuple[PyTree, PyTree, Posterior]:
            params, optimizer_state = step(key, learned[:2], examples)
            if not own.warm_start:
                return params, optimizer_state, learned[2]
            last = seen.round == own.encoder_rounds - 1
            seldom = jax.named_scope(f"once_in_{own.encoder_rounds}_rounds")  # for those who read the compiled program
            fold = seldom(partial(encoding.fold, encoder, params, memory, seen, empty, _learn))
            return params, optimizer_state, jax.lax.cond(last, fold, lambda: empty)

        def bound(learned: tuple[PyTree, PyTree, Posterior]) -> tuple[PyTree, PyTree, Posterior]:
            params, optimizer_state, known = learned
            z, _ = encoder.encode(params, examples)
            return params, optimizer_state, _learn(known, examples.model, z, examples.reward, examples.weight)

        learned = (state.params, state.optimizer, state.posterior)
        params, optimizer_state, known = jax.lax.cond(seen.round < own.encoder_rounds, encode, bound, learned)
        frozen = seen.round + 1 >= own.encoder_rounds
        return Bounding(params, optimizer_state, memory, known, state.updates + 1, frozen)

    return Agent(init, lambda key, state, context: _bound(key, own, encoder, state, context), update)


def _bound(
    key: Key[Array, ""], own: NeuralLinUCBSettings, encoder: Encoder, state: Bounding, context: Context
) -> Decision:
    """Take the arm of the highest upper bound; before the encoder is frozen, explore by epsilon."""
    explore_key, tie_key = prng.split(key)
    z, values = encoder.offered(state.params, context)
    mean, variance = _predict(z, gaussian.solve(state.posterior, own.tikhonov_weight))
    highest = exploration.greedy(tie_key, exploration.upper_bounds(context, mean, variance, own.alpha), own.ties)
    probability = settings.at_count(own.epsilon, state.updates)
    first = exploration.epsilon_greedy(explore_key, context, values, probability, own.ties)
    return Decision(jnp.where(state.frozen, highest, first))


def _learn(state: Posterior, model: Array, z: Array, reward: Array, weight: Array) -> Posterior:
    return gaussian.update_each(state, model, z, reward, weight)


def _predict(z: Float[Array, "B *K d"], solution: Solution) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Mean and variance of every arm: z [B, d] under K models, or z [B, K, d] under one."""
    if z.ndim == 3:
        return gaussian.predict(Solution(solution.mean[0], solution.whitener[0]), z)
    return gaussian.predict_each(solution, z)
