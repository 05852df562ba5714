"""Generated worlds with known truth, calibrated on MovieLens 100K. It reads nothing."""

from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import NamedTuple

import numpy as np

from jaxbandit._core.errors import unknown
from jaxbandit._core.integers import ceil_div
from jaxbandit.data.ratings import Ratings, Truth

RANK = 16
MEAN = 3.02
USER_BIAS_SD = 0.42
ITEM_BIAS_SD = 0.58
QUALITY_SHARE = 0.25  # correlation of an item's bias with its popularity
INTERACTION_SD = 0.50  # of p . q
DECAY = 0.85  # of the factors' scales
NOISE_SD = 0.74  # of a rating around its utility
CUTS = (1.80, 2.50, 3.37, 4.40)  # latent ratings below the first are one star
POPULARITY_CAP = 0.985  # quantile
TASTE = 0.8  # how far users choose what they will like: ratings are missing not at random
LEAST_RATINGS = 20  # per user, as in MovieLens
ACTIVITY_SHAPE = 0.75
MOST_ITEMS = 0.44  # share of the items that one user rates at most
BLOCK = 64  # users drawn at once; part of the definition of a world, like its seed


class World(NamedTuple):
    """Sizes and seed of a generated world."""

    num_users: int
    num_items: int
    activity_scale: float  # of the Weibull distribution of ratings per user
    popularity_sd: float  # of log-popularity
    seed: int


WORLDS = {
    "synth-100k": World(943, 1_750, 73.0, 1.65, seed=0),
    "synth-1m": World(6_040, 3_800, 122.0, 1.65, seed=0),
    "synth-32m": World(200_948, 87_585, 117.0, 2.6, seed=0),
}


class Population(NamedTuple):
    """What is drawn once for the whole world."""

    truth: Truth
    popularity: np.ndarray  # [N] float32, log scale
    activity: np.ndarray  # [U] int64, ratings per user


def synth(name: str) -> Ratings:
    """Generate a world: true utilities, who rates what, and the stars given.

    Utility Z = mu + b_u + b_i + p_u . q_i; stars cut Z + noise; user u rates the n_u items with the largest
    popularity + taste (Z - mu - b_u) + Gumbel noise, which is sampling without replacement by the softmax of the rest.
    Equal on every call; another CPU's rounding may change single ratings.

    Raises:
        InputError: the name is none of WORLDS.
    """
    if name not in WORLDS:
        raise unknown("generated world", name, WORLDS)
    return generate(name, WORLDS[name])


def generate(name: str, world: World) -> Ratings:
    """Generate a world of any size. Users are drawn in blocks, so memory grows with ratings, not with pairs."""
    root, *block_seeds = np.random.SeedSequence(world.seed).spawn(1 + ceil_div(world.num_users, BLOCK))
    population = _population(np.random.default_rng(root), world)
    # Each block has a seed of its own, so the number of threads changes nothing.
    with ThreadPoolExecutor(cpu_count()) as pool:
        starts = range(0, world.num_users, BLOCK)
        blocks = list(pool.map(lambda start, seed: _block(population, start, seed), starts, block_seeds))
    return Ratings(
        name=name,
        user=np.repeat(np.arange(world.num_users, dtype=np.int32), population.activity),
        item=np.concatenate([item for item, _ in blocks]),
        rating=np.concatenate([rating for _, rating in blocks]),
        user_ids=np.arange(world.num_users),
        item_ids=np.arange(world.num_items),
        low=1.0,
        high=1.0 + len(CUTS),
        truth=population.truth,
    )


def _population(rng: np.random.Generator, world: World) -> Population:
    num_users, num_items, activity_scale, popularity_sd, _ = world
    popularity = rng.normal(0, popularity_sd, num_items)
    popularity = np.minimum(popularity, np.quantile(popularity, POPULARITY_CAP))
    own = rng.standard_normal(num_items)
    quality = QUALITY_SHARE * popularity / popularity_sd + np.sqrt(1 - QUALITY_SHARE**2) * own
    # p . q = sum_k scale_k a_k b_k with a, b ~ N(0, 1), so its variance is the sum of scale_k^2.
    scale = DECAY ** np.arange(RANK)
    scale *= INTERACTION_SD / np.sqrt(np.sum(scale**2))
    truth = Truth(
        mean=MEAN,
        user_bias=rng.normal(0, USER_BIAS_SD, num_users).astype(np.float32),
        item_bias=(ITEM_BIAS_SD * quality).astype(np.float32),
        user=(np.sqrt(scale) * rng.standard_normal((num_users, RANK))).astype(np.float32),
        item=(np.sqrt(scale) * rng.standard_normal((num_items, RANK))).astype(np.float32),
    )
    activity = LEAST_RATINGS + activity_scale * rng.weibull(ACTIVITY_SHAPE, num_users)
    return Population(
        truth, popularity.astype(np.float32), np.minimum(activity, MOST_ITEMS * num_items).astype(np.int64)
    )


def _block(population: Population, start: int, seed: np.random.SeedSequence) -> tuple[np.ndarray, np.ndarray]:
    """Draw the items and the ratings of one block of users, user by user, items ascending."""
    truth, popularity, activity = population
    users = slice(start, start + BLOCK)
    rng = np.random.default_rng(seed)
    appeal = truth.user[users] @ truth.item.T + truth.item_bias
    # -log of a standard exponential is a Gumbel; the floor keeps the rare float32 zero out of the logarithm. In place,
    # since fresh pages for temporaries of this size cost more than the arithmetic.
    noise = rng.standard_exponential(appeal.shape, dtype=np.float32)
    np.log(np.maximum(noise, 1e-30, out=noise), out=noise)
    wish = TASTE * appeal
    wish += popularity
    wish -= noise
    items, utilities = [], []
    for row, count in enumerate(activity[users]):
        chosen = np.sort(np.argpartition(wish[row], -count)[-count:])
        items.append(chosen.astype(np.int32))
        utilities.append(truth.mean + truth.user_bias[start + row] + appeal[row, chosen])
    utility = np.concatenate(utilities)
    latent = utility + NOISE_SD * rng.standard_normal(len(utility), dtype=np.float32)
    return np.concatenate(items), (1 + np.searchsorted(CUTS, latent, side="right")).astype(np.float32)
