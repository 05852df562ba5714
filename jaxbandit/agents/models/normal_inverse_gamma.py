"""Normal-inverse-gamma posterior of linear models whose noise is unknown: init, update, sample. It knows no bandits.

sigma^2~ ~ InvGamma(c, d), theta~ ~ N(theta, sigma^2~ M^-1) with c = a0 + sum w / 2, and M and theta as in `gaussian`.
The textbook's d = b0 + (sum w r^2 - theta' M theta) / 2 takes the difference of two large numbers; here d grows by sums
of squares, batch after batch.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from jaxbandit._core import platforms, prng
from jaxbandit._core.linalg import einsum
from jaxbandit.agents.models import gaussian as posterior
from jaxbandit.agents.models import groups
from jaxbandit.agents.models.cholesky import inverse_cholesky
from jaxbandit.agents.models.gaussian import Posterior, Solution
from jaxbandit.types import Traced

PROPOSALS = 4  # all of them are refused once in 10^5 draws of shape 0, in 10^9 of shape 6
TINY = 1e-37
LEAST_GAMMA = 1e-30  # draws of a tiny shape underflow; d / 1e-30 is a finite variance for any d up to 1e8


class NIG(NamedTuple):
    """Posteriors of K models. What the prior adds to `shape` and `scale` is left out, as the ridge is of `gaussian`."""

    gaussian: Posterior
    solution: Solution  # of `gaussian`
    shape: Float[Array, " K"]  # c - a0
    scale: Float[Array, " K"]  # d - b0


def init(dim: int, num_models: int, tikhonov_weight: Traced) -> NIG:
    """Make the posteriors that have seen nothing."""
    empty = posterior.init(dim, num_models)
    return NIG(empty, posterior.solve(empty, tikhonov_weight), jnp.zeros(num_models), jnp.zeros(num_models))


def update(
    state: NIG,
    model: Int[Array, " B"],
    features: Float[Array, "B d"],
    reward: Float[Array, " B"],
    weight: Float[Array, " B"],
    tikhonov_weight: Traced,
) -> NIG:
    """Learn from a batch, row i for model[i]; a weight counts as that many observations.

    Only models that the batch can touch are solved again: B of them where it is smaller than K.
    """
    num_models = state.shape.shape[0]
    gaussian = posterior.update_each(state.gaussian, model, features, reward, weight)
    if model.shape[0] < num_models:
        solved = posterior.solve(jax.tree.map(lambda leaf: leaf[model], gaussian), tikhonov_weight)
        solution = jax.tree.map(lambda leaf, part: leaf.at[model].set(part), state.solution, solved)
    else:
        solution = posterior.solve(gaussian, tikhonov_weight)
    if features.shape[0] <= features.shape[1]:
        white = einsum("bed,bd->be", state.solution.whitener[model], features)
        predicted = jnp.sum(features * state.solution.mean[model], axis=-1)
        surprise = groups.add_rows(jnp.zeros(num_models), model, _surprise(white, model, reward - predicted, weight))
    else:
        surprise = _least_squares(state, solution, model, features, reward, weight, tikhonov_weight)
    shape = groups.add_rows(state.shape, model, 0.5 * weight)
    return NIG(gaussian, solution, shape, state.scale + 0.5 * surprise)


def _surprise(
    white: Float[Array, "B d"], model: Int[Array, " B"], error: Float[Array, " B"], weight: Float[Array, " B"]
) -> Float[Array, " B"]:
    """Share of each row in e'(I + X M^-1 X')^-1 e, e the errors of the old means.

    One row: e^2 / (1 + x'M^-1 x). Rows of different models do not meet in the matrix: one factor serves all.
    """
    root = jnp.sqrt(weight)
    rows = root[:, None] * white
    products = jnp.where(model[:, None] == model[None], einsum("ie,je->ij", rows, rows), 0.0)
    whitener = inverse_cholesky(jnp.eye(model.shape[0]) + products, least=1.0)
    return einsum("ij,j->i", whitener, root * error) ** 2


def _least_squares(
    old: NIG,
    new: Solution,
    model: Int[Array, " B"],
    features: Float[Array, "B d"],
    reward: Float[Array, " B"],
    weight: Float[Array, " B"],
    tikhonov_weight: Traced,
) -> Float[Array, " K"]:
    """e'(I + X M^-1 X')^-1 e of a large batch: the minimum over t of |r - X t|^2 + (t - theta)' M (t - theta)."""
    left = reward - jnp.sum(features * new.mean[model], axis=-1)
    step = new.mean - old.solution.mean
    moved = einsum("ki,kij,kj->k", step, old.gaussian.precision, step) + tikhonov_weight * jnp.sum(step**2, axis=-1)
    return groups.add_rows(jnp.maximum(moved, 0.0), model, weight * left**2)


def sample_variance(key: Key[Array, ""], state: NIG, a0: Traced, b0: Traced, count: int) -> Float[Array, "count K"]:
    """Draw sigma^2 ~ InvGamma(c, d) of every model, `count` times."""
    shape = jnp.broadcast_to(a0 + state.shape, (count, *state.shape.shape))
    return (b0 + state.scale)[None] / jnp.maximum(gamma(key, shape), LEAST_GAMMA)


def sample_scores(
    key: Key[Array, ""],
    state: NIG,
    features: Float[Array, "B d"],
    a0: Traced,
    b0: Traced,
) -> Float[Array, "B K"]:
    """Draw sigma^2~ and theta~ of every model for every row x, and return x'theta~.

    Given sigma^2~, x'theta~ is normal and the models are independent, so no draw is needed for each parameter.
    """
    variance_key, noise_key = prng.split(key)
    mean, variance = posterior.predict_each(state.solution, features)
    variance = variance * sample_variance(variance_key, state, a0, b0, features.shape[0])
    return mean + jnp.sqrt(variance) * jax.random.normal(noise_key, mean.shape)


def sample_parameters(key: Key[Array, ""], state: NIG, a0: Traced, b0: Traced, count: int) -> Float[Array, "count d"]:
    """Draw `count` theta~, each with a sigma^2~ of its own, of the first model."""
    variance_key, noise_key = prng.split(key)
    solution = Solution(state.solution.mean[0], state.solution.whitener[0])
    deviation = posterior.sample(solution, jax.random.normal(noise_key, (count, solution.mean.shape[0])))
    sigma = jnp.sqrt(sample_variance(variance_key, state, a0, b0, count)[:, :1])
    return solution.mean[None] + sigma * deviation


def gamma(key: Key[Array, ""], shape: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Draw from Gamma(shape, 1) by the first of some proposals that is accepted: `jax.random.gamma` draws in a loop.

    Source: Marsaglia & Tsang 2000, "A simple method for generating gamma variables", for shape + 1,
    https://doi.org/10.1145/358407.358414; and Gamma(c) = Gamma(c + 1) U^(1 / c).
    """
    normal_key, accept_key, boost_key = prng.split(key, 3)
    many = (PROPOSALS, *shape.shape)
    d = shape + 2.0 / 3.0
    x = jax.random.normal(normal_key, many)
    cube = jnp.maximum((1.0 + x / (3.0 * jnp.sqrt(d))[None]) ** 3, TINY)
    log_u = jnp.log(jax.random.uniform(accept_key, many, minval=TINY))
    accepted = log_u < 0.5 * x**2 + d[None] * (1.0 - cube + jnp.log(cube))
    first = platforms.choose(_first_in_turn, tpu=_first, cuda=_first)(accepted, cube)
    return d * first * jax.random.uniform(boost_key, shape.shape, minval=TINY) ** (1.0 / shape)


def _first(accepted: Bool[Array, "p *n"], proposals: Float[Array, "p *n"]) -> Float[Array, "*n"]:
    """Take the first proposal that is accepted; where none is, the first one. A TPU gathers single numbers slowly."""
    best = proposals[0]
    for place in reversed(range(proposals.shape[0])):
        best = jnp.where(accepted[place], proposals[place], best)
    return best


def _first_in_turn(accepted: Bool[Array, "p *n"], proposals: Float[Array, "p *n"]) -> Float[Array, "*n"]:
    """Look at them from the last to the first. XLA would make an argmax on a CPU draw one number after the other."""

    def look(back: Array, best: Float[Array, "*n"]) -> Float[Array, "*n"]:
        place = proposals.shape[0] - 1 - back
        return jnp.where(accepted[place], proposals[place], best)

    return jax.lax.fori_loop(0, proposals.shape[0], look, proposals[0])
