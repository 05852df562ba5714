"""How neural agents learn: Adam on mean w loss(r, f(x, a)), on the batch or on minibatches of a replay buffer.

The heteroscedastic loss is .5 exp(-s) (r - f)^2 + .5 s, s(x, a) a log variance that the network learns beside f; it is
the negative log likelihood of r ~ N(f, exp(s)) less a constant. Agents act on f alone.
It knows no policies. Rows of weight 0 are never stored, and a step whose weights are all 0 moves nothing.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Gt, doc
from jaxtyping import Array, Float, Int, Key, PyTree

from jaxbandit._core import prng
from jaxbandit._core.memory import check_size
from jaxbandit.agents import settings
from jaxbandit.agents.models import replay
from jaxbandit.types import Context, Interaction, Spec, Traced, chosen_arms

Network = Annotated[
    Literal["common_tower", "dot_product"],
    doc("how user and arm meet (per-arm environments; fixed arms: user -> K values)"),
]
UserLayers = Annotated[tuple[int, ...], doc("widths of the user tower, and of the whole network where arms are fixed")]
ArmLayers = Annotated[tuple[int, ...], doc("widths of the arm tower")]
CommonLayers = Annotated[tuple[int, ...], doc("widths of the common tower")]
EmbeddingDim = Annotated[int, Ge(1), doc("width of both embeddings of dot_product")]
Loss = Annotated[
    Literal["mse", "huber", "heteroscedastic"],
    doc("loss of predicted rewards; heteroscedastic learns the variance of rewards too, and weighs errors by it"),
]
ClipNorm = Annotated[Traced, Gt(0), doc("global norm to which gradients are clipped")]
BufferSize = Annotated[int, Ge(0), doc("latest rewards to train on; 0 trains on the batch just seen")]
MinibatchSize = Annotated[int, Ge(1), doc("rewards drawn from the buffer for each step")]
TrainSteps = Annotated[int, Ge(1), doc("optimizer steps of each training")]
TrainEvery = Annotated[int, Ge(1), doc("rounds from one training to the next; without a buffer others are not learnt")]

Arm: TypeAlias = Float[Array, "B Da"] | Int[Array, " B"]  # features, or the index of a fixed arm
Predict = Callable[[Key[Array, ""], PyTree, Context], Float[Array, "*heads B K"]]  # [f, s] where there is noise


class Training(NamedTuple):
    """Settings of a learner."""

    learning_rate: settings.Scheduled
    loss: str
    clip_norm: Traced
    buffer_size: int
    minibatch_size: int
    train_steps: int
    train_every: int

    @property
    def noise(self) -> bool:
        """Whether the loss wants log variances too."""
        return self.loss == "heteroscedastic"


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
    learn: Callable[..., Learned]  # (key, Learned, Batch, weight, round) -> Learned


def make_learner(spec: Spec, training: Training, predict: Predict, *networks: int) -> Learner:
    """Make a learner of one network, or of an ensemble of `networks` with rewards and weights of their own.

    Raises:
        InputError: the buffer would take too much memory.
    """
    row = jax.eval_shape(lambda: _row(spec, networks))
    check_size(row, training.buffer_size, "buffer_size")
    optimizer = optax.chain(optax.clip_by_global_norm(training.clip_norm), optax.adam(training.learning_rate))
    step, init_optimizer = make_step(optimizer, make_loss(spec, training.loss, predict)), optimizer.init
    for _ in networks:
        step = jax.vmap(step, in_axes=(None, 0, Batch(None, None, 1, 1)))  # type: ignore[arg-type]
        init_optimizer = jax.vmap(init_optimizer)

    def init(params: PyTree) -> Learned:
        buffer = replay.init(row, training.buffer_size) if training.buffer_size else ()
        return Learned(params, init_optimizer(params), buffer)

    def learn(
        key: Key[Array, ""], state: Learned, batch: Batch, weight: Float[Array, " B"], round: Int[Array, ""]
    ) -> Learned:
        buffer = replay.add(state.buffer, batch, weight) if isinstance(state.buffer, replay.Replay) else ()

        def one(number: Int[Array, ""] | int, trained: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            draw_key, step_key = prng.split(prng.fold_in(key, jnp.int32(number)))
            if not isinstance(buffer, replay.Replay):
                return step(step_key, trained, batch)
            return step(step_key, trained, replay.sample(draw_key, buffer, training.minibatch_size))

        def train(trained: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            if training.train_steps == 1:
                return one(0, trained)
            return jax.lax.fori_loop(0, training.train_steps, one, trained)

        if training.train_every == 1:
            params, optimizer_state = train((state.params, state.optimizer))
        else:
            due = (round + 1) % training.train_every == 0
            before = state.params, state.optimizer
            params, optimizer_state = jax.lax.cond(due, train, lambda trained: trained, before)
        return Learned(params, optimizer_state, buffer)

    return Learner(init, learn)


def batch_of(spec: Spec, seen: Interaction) -> Batch:
    """Keep what is trained on."""
    arm = chosen_arms(seen.context, seen.action) if spec.arm_dim else seen.action
    return Batch(seen.context.user, arm, seen.reward, seen.weight)


def context_of(spec: Spec, user: Float[Array, "B Du"], arm: Arm) -> Context:
    """Make the context that offers one arm to each user, so that training touches no others."""
    arms = arm[:, None] if spec.arm_dim else None
    return Context(user=user, user_id=jnp.zeros(user.shape[0], jnp.int32), arms=arms)


def taken(spec: Spec, values: Float[Array, "*q B K"], arm: Arm) -> Float[Array, "*q B"]:
    """Pick the values of these arms from what was predicted for their `context_of`."""
    if spec.arm_dim:
        return values[..., 0]
    index = jnp.broadcast_to(arm[:, None], (*values.shape[:-1], 1))
    return jnp.take_along_axis(values, index, axis=-1, mode="clip")[..., 0]


def make_step(
    optimizer: optax.GradientTransformation, mean_loss: Callable[..., Float[Array, ""]]
) -> Callable[..., Any]:
    """Make one optimizer step, (key, (params, optimizer state), batch) -> both, on `mean_loss(key, params, batch)`."""

    def step(key: Key[Array, ""], trained: tuple[PyTree, PyTree], batch: Any) -> tuple[PyTree, PyTree]:
        params, state = trained
        grads = jax.grad(lambda params: mean_loss(key, params, batch))(params)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            steps, state = optimizer.update(grads, state, params)
        after = optax.apply_updates(params, steps), state
        there = jnp.any(batch.weight > 0)  # else Adam's momentum would go on without a reward
        return jax.tree.map(lambda new, old: jnp.where(there, new, old), after, trained)

    return step


def make_loss(spec: Spec, name: str, predict: Predict) -> Callable[..., Float[Array, ""]]:
    """Make mean w loss(r, f(x, a)) of a batch, (key, params, batch) -> loss."""
    error = {"mse": optax.squared_error, "huber": optax.huber_loss, "heteroscedastic": _heteroscedastic}[name]

    def mean_loss(key: Key[Array, ""], params: PyTree, batch: Batch) -> Float[Array, ""]:
        values = predict(key, params, context_of(spec, batch.user, batch.arm))
        return jnp.mean(batch.weight * error(taken(spec, values, batch.arm), batch.reward))

    return mean_loss


def _heteroscedastic(predicted: Float[Array, "2 B"], reward: Float[Array, " B"]) -> Float[Array, " B"]:
    """.5 exp(-s) (r - f)^2 + .5 s of [f, s]. Source: Kendall & Gal 2017, equation 8."""
    f, s = predicted
    return 0.5 * (jnp.exp(-s) * optax.squared_error(f, reward) + s)


def _row(spec: Spec, networks: tuple[int, ...]) -> Batch:
    """Make one row of a batch, all zeros."""
    arm = jnp.zeros(spec.arm_dim) if spec.arm_dim else jnp.zeros((), jnp.int32)
    return Batch(jnp.zeros(spec.user_dim), arm, jnp.zeros(networks), jnp.zeros(networks))
