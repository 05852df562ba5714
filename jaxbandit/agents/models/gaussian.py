"""Gaussian linear posterior: init, update, solve, predict, sample. It knows no bandits.

M = A + lambda I, theta = M^-1 b with A = sum w x x', b = sum w r x. The solve is one Cholesky factorisation M = L L'
per call, kept as W = L^-1: then x' M^-1 x = |W x|^2 >= 0 whatever the rounding, and L'^-1 xi = W' xi. Sums and products
are in float32 at full precision (TF32 and bfloat16, the defaults of GPU and TPU, would ruin them).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxbandit._core import platforms
from jaxbandit._core.linalg import einsum
from jaxbandit.agents.models import groups
from jaxbandit.agents.models.cholesky import inverse_cholesky
from jaxbandit.types import Traced

CACHED = 2**14  # numbers of one lane, from which on it has the cache of a CPU to itself


class Posterior(NamedTuple):
    """Sufficient statistics of one linear model, or of K models with a leading axis."""

    precision: Float[Array, "*models d d"]  # A, without the ridge
    moment: Float[Array, "*models d"]  # b
    pulls: Float[Array, "*models"]  # n, observations


class Solution(NamedTuple):
    """A solved posterior."""

    mean: Float[Array, "*models d"]  # theta
    whitener: Float[Array, "*models d d"]  # W = L^-1, lower triangular


def init(dim: int, *models: int) -> Posterior:
    """Make the empty posterior, or one for each of `models`."""
    return Posterior(jnp.zeros((*models, dim, dim)), jnp.zeros((*models, dim)), jnp.zeros(models))


def update(
    state: Posterior,
    features: Float[Array, "B d"] | tuple[Float[Array, "B _"], ...],
    reward: Float[Array, " B"],
    weight: Float[Array, " B"],
    gamma: Traced = 1.0,
) -> Posterior:
    """Forget once by gamma and add a batch: A <- gamma A + sum w x x', b <- gamma b + sum w r x, n <- n + #{w > 0}.

    Features may come in parts: products of those that several lanes share are then computed once, on a CPU. A GPU and a
    TPU make one product of all features and the reward: few kernels, and none that is narrower than their units.
    """
    parts = features if isinstance(features, tuple) else (features,)
    products = platforms.choose(_block_products, tpu=_one_product, cuda=_one_product)
    precision, moment = products(parts, reward, weight)
    return Posterior(
        gamma * state.precision + precision,
        gamma * state.moment + moment,
        state.pulls + jnp.sum(weight > 0).astype(jnp.float32),
    )


def _block_products(
    parts: tuple[Float[Array, "B _"], ...], reward: Float[Array, " B"], weight: Float[Array, " B"]
) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
    """Compute sum w x x' and sum w r x, each pair of parts on its own."""
    weighted = [part * weight[:, None] for part in parts]
    lower = [[einsum("bi,bj->ij", w, part) for part in parts[: i + 1]] for i, w in enumerate(weighted)]
    blocks = [[lower[i][j] if j <= i else lower[j][i].T for j in range(len(parts))] for i in range(len(parts))]
    return jnp.block(blocks), jnp.concatenate([einsum("bi,b->i", w, reward) for w in weighted])


def _one_product(
    parts: tuple[Float[Array, "B _"], ...], reward: Float[Array, " B"], weight: Float[Array, " B"]
) -> tuple[Float[Array, "d d"], Float[Array, " d"]]:
    """Compute both as one product [x; r] [x; r]'."""
    features = jnp.concatenate(parts, axis=1)
    rows = jnp.concatenate([features, reward[:, None]], axis=1)
    products = einsum("bi,bj->ij", rows * weight[:, None], rows)
    return products[:-1, :-1], products[:-1, -1]


def update_each(
    state: Posterior,
    model: Int[Array, " B"],
    features: Float[Array, "B d"],
    reward: Float[Array, " B"],
    weight: Float[Array, " B"],
    gamma: Traced = 1.0,
) -> Posterior:
    """Update K posteriors by one batch, row i for model[i]. All of them forget once."""
    weighted = features * weight[:, None]
    return Posterior(
        groups.add_products(gamma * state.precision, model, weighted, features),
        groups.add_rows(gamma * state.moment, model, weighted * reward[:, None]),
        groups.add_rows(state.pulls, model, (weight > 0).astype(jnp.float32)),
    )


def solve(state: Posterior, tikhonov_weight: Traced) -> Solution:
    """Factorise M = A + tikhonov_weight I once for each model and solve M theta = b."""
    dim = state.moment.shape[-1]
    ridge = tikhonov_weight * jnp.eye(dim, dtype=state.precision.dtype)
    whiten = partial(inverse_cholesky, least=tikhonov_weight)
    for _ in state.pulls.shape:
        whiten = jax.vmap(whiten)
    models = (None,) * state.pulls.ndim
    whitener = whiten(state.precision + ridge[models])
    half = einsum("...ij,...j->...i", whitener, state.moment)
    return Solution(einsum("...ij,...i->...j", whitener, half), whitener)


def predict(
    solution: Solution, features: Float[Array, "*batch d"]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Mean x'theta and variance x'M^-1x of one model at each row of `features`."""
    mean = einsum("...d,d->...", features, solution.mean)
    white = einsum("...d,ed->...e", features, solution.whitener)
    return mean, jnp.sum(white * white, axis=-1)


def predict_each(solution: Solution, features: Float[Array, "B d"]) -> tuple[Float[Array, "B K"], Float[Array, "B K"]]:
    """Mean x'theta and variance x'M^-1x of each of K models at every row of `features`."""
    return einsum("bd,kd->bk", features, solution.mean), variance_each(solution, features)


def variance_each(solution: Solution, features: Float[Array, "B d"]) -> Float[Array, "B K"]:
    """Variance x'M^-1x of each of K models at every row of `features`."""
    return platforms.choose(_variance_on_cpu, tpu=_variance, cuda=_variance)(solution.whitener, features)


def _variance(whitener: Float[Array, "K d d"], features: Float[Array, "B d"]) -> Float[Array, "B K"]:
    """|W x|^2, summed over an axis whose elements lie far apart: those of all rows side by side are a vector.

    W is triangular: the upper half of its rows needs no more than half of x. Sums of a single square are none to a
    compiler: it would fuse them into each use, where a^2 + b^2 is rounded in one of two ways, and break ties of arms.
    """
    half = whitener.shape[1] // 2 if whitener.shape[1] > 3 else 0
    upper = einsum("ked,bd->keb", whitener[:, :half, :half], features[:, :half])
    lower = einsum("ked,bd->keb", whitener[:, half:], features)
    return (jnp.sum(upper * upper, axis=1) + jnp.sum(lower * lower, axis=1)).T


def _variance_on_cpu(whitener: Float[Array, "K d d"], features: Float[Array, "B d"]) -> Float[Array, "B K"]:
    """Take one lane after the other where W x of one is large: of all together it would leave the cache."""
    batch, (num_models, dim, _) = features.shape[0], whitener.shape
    large = isinstance(batch, int) and batch * num_models * dim >= CACHED
    return (jax.custom_batching.sequential_vmap(_variance) if large else _variance)(whitener, features)


def sample(solution: Solution, noise: Float[Array, "B d"]) -> Float[Array, "B d"]:
    """Deviation L'^-1 xi of one model's parameters from their mean, a row for each row xi of standard normal noise."""
    return einsum("be,ed->bd", noise, solution.whitener)
