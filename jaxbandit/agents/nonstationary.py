"""Linear UCB for worlds that change: it forgets batches one by one as they grow old, or all of them by and by."""

from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core.linalg import einsum
from jaxbandit._core.memory import check_size
from jaxbandit.agents import exploration, settings
from jaxbandit.agents.linear import make_model
from jaxbandit.agents.models import features, gaussian
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.types import Agent, Context, Decision, Interaction, Spec, Traced, offered_arms


class Window(NamedTuple):
    """Statistics of the last w batches as a queue of two stacks: sums are only ever added to, so that nothing drifts.

    Rounds come in blocks of w. At place i of a block, the ring holds the batches of this block before i, and from i on
    sums of the last block's batches from there to its end.
    """

    ring: Posterior  # [w] of them
    block: Posterior  # sum of this block
    total: Posterior  # sum of the window


class Discounted(NamedTuple):
    """Statistics under gamma, and x x' under gamma^2."""

    once: Posterior
    twice: Float[Array, "*models d d"]


def sliding_window_linucb(
    spec: Spec,
    *,
    window: Annotated[int, Ge(1), doc("batches that are remembered, w")] = 100,
    alpha: settings.Alpha = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    ties: settings.Ties = "random",
) -> Agent[Window]:
    """Take the arm that LinUCB takes if it has seen the last w batches alone.

    Source: Cheung et al. 2019 (SW-UCB).

    Raises:
        InputError: the window would take more than 1 GiB.
    """
    model = make_model(spec, features, add_bias, 1.0)
    check_size(jax.eval_shape(model.init), window, "window")

    def init(key: Key[Array, ""]) -> Window:
        empty = model.init()
        return Window(jax.tree.map(lambda x: jnp.zeros((window, *x.shape)), empty), empty, model.init())

    def select(key: Key[Array, ""], state: Window, context: Context) -> Decision:
        mean, variance = model.predict(context, gaussian.solve(state.total, tikhonov_weight))
        scores = exploration.upper_bounds(context, mean, variance, alpha)
        return Decision(exploration.greedy(key, scores, ties))

    def update(key: Key[Array, ""], state: Window, seen: Interaction) -> Window:
        return push(state, model.update(model.init(), seen), seen.round % window)

    return Agent(init, select, update)


def discounted_linucb(
    spec: Spec,
    *,
    gamma: Annotated[Traced, Gt(0), Le(1), doc("forgetting factor of each update")] = 0.99,
    alpha: settings.Alpha = 1.0,
    tikhonov_weight: settings.TikhonovWeight = 1.0,
    add_bias: settings.AddBias = False,
    features: settings.Features = "concat",
    ties: settings.Ties = "random",
) -> Agent[Discounted]:
    """Take argmax_a x'theta + alpha sqrt(x' V^-1 V~ V^-1 x), V and V~ discounted by gamma and gamma^2.

    V = sum of gamma^age x x' + tikhonov_weight I, V~ likewise; age counts updates.
    Source: Russac et al. 2019, Algorithm 1 (D-LinUCB).
    """
    model = make_model(spec, features, add_bias, 1.0)

    def init(key: Key[Array, ""]) -> Discounted:
        return Discounted(model.init(), model.init().precision)

    def select(key: Key[Array, ""], state: Discounted, context: Context) -> Decision:
        solution = gaussian.solve(state.once, tikhonov_weight)
        mean, _ = model.predict(context, solution)
        variance = sandwich(_rows(spec, features, add_bias, context), solution, state.twice, tikhonov_weight)
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
    ring = jax.lax.cond(place == 0, next_block, lambda ring: ring, state.ring)
    block = jax.tree.map(lambda old, new: jnp.where(place == 0, new, old + new), state.block, batch)
    older = jax.tree.map(lambda x: jnp.where(place + 1 < size, x[jnp.minimum(place + 1, size - 1)], 0.0), ring)
    ring = jax.tree.map(lambda x, new: x.at[place].set(new), ring, batch)
    return Window(ring, block, jax.tree.map(jnp.add, block, older))


def sandwich(
    rows: Float[Array, "B #K d"], solution: Solution, twice: Float[Array, "*models d d"], ridge: Traced
) -> Float[Array, "B K"]:
    """Compute x' V^-1 (twice + ridge I) V^-1 x of every arm."""
    models = (None,) * (3 - twice.ndim)
    whitener = solution.whitener[models]
    white = einsum("b...d,...ed->b...e", rows, whitener)
    y = einsum("b...e,...ed->b...d", white, whitener)
    return jnp.maximum(einsum("b...i,...ij,b...j->b...", y, twice[models], y), 0) + ridge * jnp.sum(y * y, axis=-1)


def _rows(spec: Spec, kind: features.Features, add_bias: bool, context: Context) -> Float[Array, "B #K d"]:
    """Features of every arm; of fixed arms those of the user."""
    if spec.arm_dim == 0:
        return features.with_bias(context.user, add_bias)[:, None]
    return features.joint(kind, add_bias, context.user[:, None], offered_arms(context))
