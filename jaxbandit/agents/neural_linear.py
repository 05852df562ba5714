"""Linear bandits on the last hidden layer of a network: NeuralLinear (NIG Thompson sampling) and NeuralLinUCB."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, doc
from jaxtyping import Array, Bool, Float, Int, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.linalg import einsum
from jaxbandit.agents import exploration, nig_lints, settings
from jaxbandit.agents.models import encoder as encoding
from jaxbandit.agents.models import gaussian, normal_inverse_gamma, replay, training
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.agents.models.normal_inverse_gamma import NIG
from jaxbandit.agents.models.replay import Replay
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced

HiddenLayers = Annotated[tuple[int, ...], doc("widths of the encoder; the last one is the dimension of z")]
BufferSize = Annotated[int, Ge(1), doc("interactions that are stored; the oldest make room")]


class Sampling(NamedTuple):
    """What neural-linear-ts learns."""

    params: PyTree
    optimizer: PyTree
    memory: Replay
    posterior: NIG
    served: Int[Array, ""]  # users so far, until none is served in turn any more


class Bounding(NamedTuple):
    """What neural-linucb learns."""

    params: PyTree
    optimizer: PyTree
    memory: Replay
    posterior: Posterior
    updates: Int[Array, ""]
    frozen: Bool[Array, ""]  # the encoder is


def neural_linear_ts(
    spec: Spec,
    *,
    a0: nig_lints.A0 = 12.0,
    b0: nig_lints.B0 = 30.0,
    tikhonov_weight: settings.TikhonovWeight = 23.0,
    learning_rate: Annotated[Traced, Gt(0), doc("step size of RMSprop")] = 0.01,
    clip_norm: training.ClipNorm = 5.0,
    hidden_layers: HiddenLayers = (100, 100),
    train_every: Annotated[int, Ge(1), doc("rounds from one training of the encoder to the next")] = 20,
    train_steps: training.TrainSteps = 50,
    minibatch_size: training.MinibatchSize = 512,
    reset: Annotated[bool, doc("forget RMSprop's second moments before each training")] = True,
    buffer_size: BufferSize = 16384,
    initial_pulls: nig_lints.InitialPulls = 2,
    ties: settings.Ties = "random",
) -> Agent[Sampling]:
    """Draw as nig-lints does on z(x), the last hidden layer of a network that is trained every `train_every` rounds.

    After a training all stored contexts are encoded again and the posteriors made anew. z has no intercept.
    Source: Riquelme et al. 2018, "NeuralLinear".
    """
    encoder = encoding.make_encoder(spec, hidden_layers, buffer_size)
    optimizer = optax.chain(
        optax.clip_by_global_norm(clip_norm),
        optax.scale_by_rms(initial_scale=1.0),  # as TensorFlow's RMSprop starts
        optax.scale_by_learning_rate(learning_rate),
    )
    step = training.make_step(optimizer, encoding.mean_loss(encoder))
    empty = normal_inverse_gamma.init(encoder.dim, encoder.num_models, tikhonov_weight)

    def learn(state: NIG, model: Array, z: Array, reward: Array, weight: Array) -> NIG:
        return normal_inverse_gamma.update(state, model, z, reward, weight, tikhonov_weight)

    def init(key: Key[Array, ""]) -> Sampling:
        params = encoder.init(key)
        return Sampling(params, optimizer.init(params), encoder.memory(), empty, jnp.zeros((), jnp.int32))

    def select(key: Key[Array, ""], state: Sampling, context: Context) -> Decision:
        draw_key, tie_key = prng.split(key)
        z, _ = encoder.offered(state.params, context)
        if spec.arm_dim:
            beta = normal_inverse_gamma.sample_parameters(draw_key, state.posterior, a0, b0, z.shape[0])
            scores = exploration.allowed(context, einsum("bkd,bd->bk", z, beta))
        else:
            scores = normal_inverse_gamma.sample_scores(draw_key, state.posterior, z, a0, b0)
            scores = nig_lints.in_turn(context, scores, state.served, initial_pulls)
        return Decision(exploration.greedy(tie_key, scores, ties))

    def update(key: Key[Array, ""], state: Sampling, seen: Interaction) -> Sampling:
        rows = encoder.rows(seen)
        memory = replay.add(state.memory, rows, rows.weight)

        def go_on(trained: tuple[PyTree, PyTree, NIG]) -> tuple[PyTree, PyTree, NIG]:
            params, optimizer_state, known = trained
            z, _ = encoder.encode(params, rows)
            return params, optimizer_state, learn(known, rows.model, z, rows.reward, rows.weight)

        def retrain(trained: tuple[PyTree, PyTree, NIG]) -> tuple[PyTree, PyTree, NIG]:
            params, optimizer_state, _ = trained
            start = optimizer.init(params) if reset else optimizer_state

            def one(number: Int[Array, ""], trained: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
                minibatch_key = prng.fold_in(key, number)
                return step(minibatch_key, trained, replay.sample(minibatch_key, memory, minibatch_size))

            params, optimizer_state = jax.lax.fori_loop(0, train_steps, one, (params, start))
            return params, optimizer_state, encoding.fold(encoder, params, memory, seen, empty, learn)

        trained = (state.params, state.optimizer, state.posterior)
        trained = jax.lax.cond((seen.round + 1) % train_every == 0, retrain, go_on, trained)
        params, optimizer_state, known = trained
        return Sampling(
            params, optimizer_state, memory, known, nig_lints.served(spec, state.served, seen, initial_pulls)
        )

    return Agent(init, select, update)


def neural_linucb(
    spec: Spec,
    *,
    alpha: settings.Alpha = 1.0,
    epsilon: settings.Epsilon = 0.1,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    learning_rate: settings.LearningRate = 0.003,
    clip_norm: training.ClipNorm = 10.0,
    hidden_layers: HiddenLayers = (64, 32),
    encoder_rounds: Annotated[int, Ge(0), doc("rounds that train the encoder, before it is frozen")] = 500,
    warm_start: Annotated[bool, doc("LinUCB begins with the stored interactions of these rounds")] = True,
    buffer_size: BufferSize = 16384,
    ties: settings.Ties = "random",
) -> Agent[Bounding]:
    """Train an encoder z(x) epsilon-greedily for `encoder_rounds` rounds, then freeze it and run LinUCB on z(x).

    One step of Adam per round trains it. TF-Agents throws the interactions of these rounds away (`warm_start=False`).
    Source: Xu et al. 2020, "Neural contextual bandits with deep representation and shallow exploration".
    """
    encoder = encoding.make_encoder(spec, hidden_layers, buffer_size if warm_start else 1)
    optimizer = optax.chain(optax.clip_by_global_norm(clip_norm), optax.adam(learning_rate))
    step = training.make_step(optimizer, encoding.mean_loss(encoder))
    empty = gaussian.init(encoder.dim, encoder.num_models)

    def learn(state: Posterior, model: Array, z: Array, reward: Array, weight: Array) -> Posterior:
        one_hot = jax.nn.one_hot(model, state.pulls.shape[0])
        return gaussian.update_each(state, one_hot, z, reward, weight)

    def init(key: Key[Array, ""]) -> Bounding:
        params = encoder.init(key)
        frozen = jnp.array(encoder_rounds == 0)
        return Bounding(params, optimizer.init(params), encoder.memory(), empty, jnp.zeros((), jnp.int32), frozen)

    def select(key: Key[Array, ""], state: Bounding, context: Context) -> Decision:
        explore_key, tie_key = prng.split(key)
        z, values = encoder.offered(state.params, context)
        mean, variance = _predict(z, gaussian.solve(state.posterior, tikhonov_weight))
        bound = exploration.greedy(tie_key, exploration.upper_bounds(context, mean, variance, alpha), ties)
        probability = settings.at_count(epsilon, state.updates)
        first = exploration.epsilon_greedy(explore_key, context, values, probability, ties)
        return Decision(jnp.where(state.frozen, bound, first))

    def update(key: Key[Array, ""], state: Bounding, seen: Interaction) -> Bounding:
        rows = encoder.rows(seen)
        memory = replay.add(state.memory, rows, rows.weight)

        def encode(learned: tuple[PyTree, PyTree, Posterior]) -> tuple[PyTree, PyTree, Posterior]:
            params, optimizer_state, known = learned
            params, optimizer_state = step(key, (params, optimizer_state), rows)
            if warm_start:
                known = jax.lax.cond(
                    seen.round == encoder_rounds - 1,
                    lambda: encoding.fold(encoder, params, memory, seen, empty, learn),
                    lambda: empty,
                )
            return params, optimizer_state, known

        def bound(learned: tuple[PyTree, PyTree, Posterior]) -> tuple[PyTree, PyTree, Posterior]:
            params, optimizer_state, known = learned
            z, _ = encoder.encode(params, rows)
            return params, optimizer_state, learn(known, rows.model, z, rows.reward, rows.weight)

        learned = (state.params, state.optimizer, state.posterior)
        params, optimizer_state, known = jax.lax.cond(seen.round < encoder_rounds, encode, bound, learned)
        frozen = seen.round + 1 >= encoder_rounds
        return Bounding(params, optimizer_state, memory, known, state.updates + 1, frozen)

    return Agent(init, select, update)


def _predict(z: Float[Array, "B *K d"], solution: Solution) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Mean and variance of every arm: z [B, d] under K models, or z [B, K, d] under one."""
    if z.ndim == 3:
        return gaussian.predict(Solution(solution.mean[0], solution.whitener[0]), z)
    white = einsum("bd,ked->bke", z, solution.whitener)
    return einsum("bd,kd->bk", z, solution.mean), jnp.sum(white * white, axis=-1)
