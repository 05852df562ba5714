"""How neural agents learn: Adam on mean w loss(r, f_a), on the batch just seen or on minibatches of a replay buffer.

The heteroscedastic loss is (exp(-v) (r - f)^2 + v) / 2, v a log variance that the network learns beside f; it is the
negative log likelihood of r ~ N(f, exp(v)) less a constant. Agents act on f alone.
It knows no policies. Interactions of weight 0 are never stored, and a step whose weights are all 0 moves nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.memory import check_size
from jaxbandit._core.selection import entries
from jaxbandit.agents import settings
from jaxbandit.agents.models import replay
from jaxbandit.agents.models.networks import NetworkSettings
from jaxbandit.types import Context, Interaction, Spec, chosen_arms

Arm: TypeAlias = Float[Array, "B Da"] | Int[Array, " B"]  # features, or the index of a fixed arm
Predict = Callable[[Key[Array, ""], PyTree, Context], Float[Array, "*heads B K"]]  # [f, v] where there is noise


@dataclass(frozen=True)
class TrainingSettings:
    """A network, and how it is trained."""

    learning_rate: settings.LearningRate = 0.003
    shape: NetworkSettings = NetworkSettings()
    loss: Annotated[
        Literal["mse", "huber", "heteroscedastic"],
        doc("loss of predicted rewards; heteroscedastic learns the variance of rewards too, and weighs errors by it"),
    ] = "mse"
    clip_norm: settings.ClipNorm = 10.0
    buffer_size: Annotated[int, Ge(0), doc("latest rewards to train on; 0 trains on the batch just seen")] = 0
    minibatch_size: settings.MinibatchSize = 128
    train_steps: settings.TrainSteps = 1
    train_every: Annotated[
        int, Ge(1), doc("rounds from one training to the next; without a buffer others are not learnt")
    ] = 1

    @property
    def noise(self) -> bool:
        """Whether the loss wants log variances too."""
        return self.loss == "heteroscedastic"


@runtime_checkable
class Weighted(Protocol):
    """BatchLike to train on, as a record of arrays."""

    @property
    def weight(self) -> Float[Array, "B *q"]:
        """Weights of the examples."""


BatchLike = TypeVar("BatchLike", bound=Weighted)
Trained: TypeAlias = tuple[PyTree, PyTree]  # parameters, and the state of their optimizer
MeanLoss: TypeAlias = Callable[[Key[Array, ""], PyTree, BatchLike], Float[Array, ""]]
Step: TypeAlias = Callable[[Key[Array, ""], Trained, BatchLike], Trained]


class Batch(NamedTuple):
    """Arms taken and what they paid, the whole of what is trained on; `*q` is there in an ensemble of q networks."""

    user: Float[Array, "B Du"]
    arm: Arm
    reward: Float[Array, "B *q"]
    weight: Float[Array, "B *q"]


class Learned(NamedTuple):
    """What training changes; parameters and optimizer of an ensemble are stacked."""

    params: PyTree
    optimizer: PyTree
    buffer: replay.Replay | tuple[()]


class Learner(NamedTuple):
    """Training as pure functions."""

    init: Callable[[PyTree], Learned]
    learn: Callable[[Key[Array, ""], Learned, Batch, Float[Array, " B"], Int[Array, ""]], Learned]  # and the round


def make_learner(spec: Spec, training: TrainingSettings, predict: Predict, *networks: int) -> Learner:
    """Make a learner of one network, or of an ensemble of `networks` with rewards and weights of their own.

    Raises:
        InputError: the buffer would take too much memory.
    """
    example = jax.eval_shape(lambda: _example(spec, networks))
    check_size(example, training.buffer_size, "buffer_size")
    optimizer = optax.chain(optax.clip_by_global_norm(training.clip_norm), optax.adam(training.learning_rate))
    step, init_optimizer = make_step(optimizer, make_loss(spec, training.loss, predict)), optimizer.init
    for _ in networks:
        step = jax.vmap(step, in_axes=(None, 0, Batch(None, None, 1, 1)))  # type: ignore[arg-type]
        init_optimizer = jax.vmap(init_optimizer)

    def init(params: PyTree) -> Learned:
        buffer = replay.init(example, training.buffer_size) if training.buffer_size else ()
        return Learned(params, init_optimizer(params), buffer)

    def learn(
        key: Key[Array, ""], state: Learned, batch: Batch, weight: Float[Array, " B"], round: Int[Array, ""]
    ) -> Learned:
        buffer = replay.add(state.buffer, batch, weight) if isinstance(state.buffer, replay.Replay) else ()
        train = _training(training, step, key, batch, buffer)
        trained = state.params, state.optimizer
        if training.train_every == 1:
            trained = train(trained)
        else:
            due = (round + 1) % training.train_every == 0
            trained = jax.lax.cond(due, train, lambda trained: trained, trained)
        return Learned(*trained, buffer)

    return Learner(init, learn)


def _training(
    training: TrainingSettings,
    step: Step[Batch],
    key: Key[Array, ""],
    batch: Batch,
    buffer: replay.Replay | tuple[()],
) -> Callable[[Trained], Trained]:
    """Make the steps of one training, on the batch or on minibatches of the buffer."""

    def one(number: Int[Array, ""] | int, trained: Trained) -> Trained:
        draw_key, step_key = prng.split(prng.fold_in(key, jnp.int32(number)))
        if not isinstance(buffer, replay.Replay):
            return step(step_key, trained, batch)
        return step(step_key, trained, replay.sample(draw_key, buffer, training.minibatch_size))

    if training.train_steps == 1:
        return lambda trained: one(0, trained)
    return lambda trained: jax.lax.fori_loop(0, training.train_steps, one, trained)


def batch_of(spec: Spec, seen: Interaction) -> Batch:
    """Keep what is trained on."""
    arm = chosen_arms(seen.context, seen.action) if spec.arm_dim else seen.action
    return Batch(seen.context.user, arm, seen.reward, seen.weight)


def context_of(spec: Spec, user: Float[Array, "B Du"], arm: Arm) -> Context:
    """Make the context that offers one arm to each user, so that training touches no others."""
    arms = arm[:, None] if spec.arm_dim else None
    return Context(user=user, user_id=jnp.zeros(user.shape[0], jnp.int32), arms=arms)


def values_of(spec: Spec, values: Float[Array, "*q B K"], arm: Arm) -> Float[Array, "*q B"]:
    """Pick the values of these arms from what was predicted for their `context_of`."""
    if spec.arm_dim:
        return values[..., 0]
    return entries(values, jnp.broadcast_to(arm, values.shape[:-1]))


def make_step(optimizer: optax.GradientTransformation, mean_loss: MeanLoss[BatchLike]) -> Step[BatchLike]:
    """Make one step of an optimizer on the gradient of `mean_loss`."""

    def step(key: Key[Array, ""], trained: Trained, batch: BatchLike) -> Trained:
        params, state = trained
        grads = jax.grad(lambda params: mean_loss(key, params, batch))(params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            steps, state = optimizer.update(grads, state, params)
        after = optax.apply_updates(params, steps), state
        rewarded = jnp.any(batch.weight > 0)  # else Adam's momentum would go on without a reward
        return jax.tree.map(lambda new, old: jnp.where(rewarded, new, old), after, trained)

    return step


def make_loss(spec: Spec, name: str, predict: Predict) -> MeanLoss[Batch]:
    """Make mean w loss(r, f_a) of a batch."""
    error = {"mse": optax.squared_error, "huber": optax.huber_loss, "heteroscedastic": _heteroscedastic}[name]

    def mean_loss(key: Key[Array, ""], params: PyTree, batch: Batch) -> Float[Array, ""]:
        values = predict(key, params, context_of(spec, batch.user, batch.arm))
        return jnp.mean(batch.weight * error(values_of(spec, values, batch.arm), batch.reward))

    return mean_loss


def _heteroscedastic(predicted: Float[Array, "2 B"], reward: Float[Array, " B"]) -> Float[Array, " B"]:
    """(exp(-v) (r - f)^2 + v) / 2 of [f, v].

    Source: Kendall & Gal 2017, "What uncertainties do we need in Bayesian deep learning for computer vision?",
    equation 8, https://arxiv.org/abs/1703.04977.
    """
    f, v = predicted
    return 0.5 * (jnp.exp(-v) * optax.squared_error(f, reward) + v)


def _example(spec: Spec, networks: tuple[int, ...]) -> Batch:
    """Make one example of a batch, all zeros."""
    arm = jnp.zeros(spec.arm_dim) if spec.arm_dim else jnp.zeros((), jnp.int32)
    return Batch(jnp.zeros(spec.user_dim), arm, jnp.zeros(networks), jnp.zeros(networks))
