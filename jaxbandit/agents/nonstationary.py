"""LinUCB for worlds that change: it forgets the oldest batch of a window, or all batches little by little.

It detects no change: how much is forgotten is a setting.
"""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.linalg import einsum
from jaxbandit._core.memory import check_size
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.linear import make_model
from jaxbandit.agents.models import features
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.agents.settings import LinearSettings
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, offered_arms


class Window(NamedTuple):
    """Statistics of the last W batches as a queue of two stacks: sums are only ever added to, so that nothing drifts.

    Rounds come in blocks of W. At place i of a block, the ring holds the batches of this block before i, and from i on
    sums of the last block's batches from there to its end.
    """

    ring: Posterior  # [W] of them
    block: Posterior  # sum of this block
    total: Posterior  # sum of the window


class Discounted(NamedTuple):
    """Statistics forgotten by gamma, and A forgotten by gamma^2."""

    once: Posterior
    twice: Float[Array, "*models d d"]


@flat_settings
def sliding_window_linucb(
    spec: Spec,
    *,
    window: Annotated[int, Ge(1), doc("batches that are remembered, w")] = 100,
    alpha: settings.Alpha = 1.0,
    linear: LinearSettings = LinearSettings(),
    ties: settings.Ties = "random",
) -> Agent[Window]:
    """Take the arm that LinUCB takes if it has seen the last w batches alone.

    argmax_a x_a'theta + alpha sqrt(x_a' M^-1 x_a) with A and b the sums over the last `window` rounds.
    Source: Cheung, Simchi-Levi & Zhu 2019, "Learning to optimize under non-stationarity", SW-UCB,
    https://arxiv.org/abs/1810.03024.

    Raises:
        InputError: the window would take more than 1 GiB.
    """
    model = make_model(spec, linear)
    check_size(jax.eval_shape(model.init), window, "window")

    def init(key: Key[Array, ""]) -> Window:
        empty = model.init()
        return Window(jax.tree.map(lambda x: jnp.zeros((window, *x.shape)), empty), empty, model.init())

    def select(key: Key[Array, ""], state: Window, context: Context) -> Decision:
        mean, variance = model.predict(context, model.solve(state.total))
        scores = exploration.upper_bounds(context, mean, variance, alpha)
        return Decision(exploration.greedy(key, scores, ties))

    def update(key: Key[Array, ""], state: Window, seen: Interaction) -> Window:
        return push(state, model.update(model.init(), seen), seen.round % window)

    return Agent(init, select, update)


@flat_settings
def discounted_linucb(
    spec: Spec,
    *,
    gamma: Annotated[Traced, Gt(0), Le(1), doc("forgetting factor of each update")] = 0.99,
    alpha: settings.Alpha = 1.0,
    linear: LinearSettings = LinearSettings(),
    ties: settings.Ties = "random",
) -> Agent[Discounted]:
    """Take argmax_a x_a'theta + alpha sqrt(x_a' M^-1 V M^-1 x_a), M and V discounted by gamma and gamma^2.

    M = sum of gamma^age w x x' + lambda I, V = sum of gamma^(2 age) w x x' + lambda I; age counts updates.
    Source: Russac, Vernade & Cappé 2019, "Weighted linear bandits for non-stationary environments", Algorithm 1
    (D-LinUCB), https://arxiv.org/abs/1909.09146.
    """
    model = make_model(spec, linear)

    def init(key: Key[Array, ""]) -> Discounted:
        return Discounted(model.init(), model.init().precision)

    def select(key: Key[Array, ""], state: Discounted, context: Context) -> Decision:
        solution = model.solve(state.once)
        mean, _ = model.predict(context, solution)
        variance = sandwich(_rows(spec, linear, context), solution, state.twice, linear.tikhonov_weight)
        scores = exploration.upper_bounds(context, mean, variance, alpha)
        return Decision(exploration.greedy(key, scores, ties))

    def update(key: Key[Array, ""], state: Discounted, seen: Interaction) -> Discounted:
        batch = model.update(model.init(), seen)
        once = jax.tree.map(lambda old, new: gamma * old + new, state.once, batch)
        return Discounted(once, gamma**2 * state.twice + batch.precision)

    return Agent(init, select, update)


def push(state: Window, batch: Posterior, place: Int[Array, ""]) -> Window:
    """Add a batch at its place in the block, and drop the one that is w batches older."""

    def next_block(ring: Posterior) -> Posterior:
        return jax.tree.map(lambda x: jax.lax.cumsum(x, axis=0, reverse=True), ring)

    size = state.ring.pulls.shape[0]
    # A loop of one turn or none: compilers change its carry in place, where both branches of a condition are copied.
    turns = (place == 0).astype(jnp.int32)
    with jax.named_scope(f"once_in_{size}_rounds"):  # for those who read the compiled program
        ring = jax.lax.fori_loop(0, turns, lambda _, ring: next_block(ring), state.ring)
    block = jax.tree.map(lambda old, new: jnp.where(place == 0, new, old + new), state.block, batch)
    ring = jax.tree.map(lambda x, new: x.at[place].set(new), ring, batch)
    older = jax.tree.map(lambda x: jnp.where(place + 1 < size, x[jnp.minimum(place + 1, size - 1)], 0.0), ring)
    return Window(ring, block, jax.tree.map(jnp.add, block, older))


def sandwich(
    rows: Float[Array, "B #K d"], solution: Solution, twice: Float[Array, "*models d d"], ridge: Traced
) -> Float[Array, "B K"]:
    """Compute x_a' M^-1 (twice + ridge I) M^-1 x_a of every arm."""
    models = (None,) * (3 - twice.ndim)
    whitener = solution.whitener[models]
    white = einsum("b...d,...ed->b...e", rows, whitener)
    y = einsum("b...e,...ed->b...d", white, whitener)
    return jnp.maximum(einsum("b...i,...ij,b...j->b...", y, twice[models], y), 0) + ridge * jnp.sum(y * y, axis=-1)


def _rows(spec: Spec, linear: LinearSettings, context: Context) -> Float[Array, "B #K d"]:
    """Features of every arm; of fixed arms those of the user."""
    if spec.arm_dim == 0:
        return features.with_bias(context.user, linear.add_bias)[:, None]
    return features.joint(linear.features, linear.add_bias, context.user[:, None], offered_arms(context))
