"""The matrix-factorisation worlds: approximate ratings of every <user, item> pair are the rewards.

`mf` offers the same items in every round, `mf-per-arm` other ones to each user. What the agent observes comes from a
fit of the ratings; what it is paid comes from the same fit or from another one (misspecification).
"""

from typing import Annotated, Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.errors import InputError
from jaxbandit.data import Ratings
from jaxbandit.envs import sampling
from jaxbandit.envs.masks import MinActions, offer_some
from jaxbandit.envs.matrix_factorization import drift
from jaxbandit.envs.matrix_factorization.rewards import (
    Reward,
    RewardParams,
    draw_reward,
    mean_reward,
    reward_params,
    reward_range,
)
from jaxbandit.envs.matrix_factorization.tables import Tables, build_tables, check_num_actions
from jaxbandit.envs.outcome import expected, outcome
from jaxbandit.types import Catalogue, Context, Environment, Outcome, Spec, Traced, make_catalogue

Factorizer = Annotated[Literal["als", "residual_svd", "svd", "truth"], doc("how ratings become rewards of all pairs")]
Observation = Annotated[
    Literal["same", "als", "residual_svd", "svd", "truth"], doc("fit that the agent observes; same: the factorizer's")
]
RankK = Annotated[int, Ge(1), doc("rank of the factorisation")]
NumActions = Annotated[int, Ge(2), doc("arms offered, K")]
RewardKind = Annotated[Reward, doc("what is paid; regret is always on its mean")]
RewardSd = Annotated[Traced, Ge(0), doc("noise of reward=gaussian")]
Users = Annotated[Literal["uniform", "activity"], doc("how users are drawn; activity: by their number of ratings")]
Standardize = Annotated[
    bool | None, doc("divide observed columns by their root mean square, uncentred; auto: all observed fits but svd")
]
SideFeatures = Annotated[bool, doc("append age, gender, occupation and genres to what is observed")]


class Params(NamedTuple):
    """The world's arrays."""

    user: Float[Array, "U Du"]  # observed
    user_reward: Float[Array, "U r"]  # times the item side below: the rating less `mean`
    catalogue: Catalogue  # observed
    item_reward: Float[Array, "N r"] | None  # None: the catalogue's features serve
    users: Float[Array, " U"] | None  # cumulative (per arm) or log (fixed) weights; None: uniform
    items: Float[Array, " N"] | None  # log weights; None: uniform
    reward: RewardParams
    walk: drift.Walk | None  # of user_reward, whose rows are then the state; None: tastes stay


def mf_per_arm(
    ratings: Ratings,
    *,
    num_actions: NumActions = 20,
    factorizer: Factorizer = "als",
    rank_k: RankK = 20,
    observation: Observation = "same",
    reward: RewardKind = "expected",
    reward_sd: RewardSd = 0.5,
    users: Users = "uniform",
    arms: Annotated[
        Literal["uniform", "popularity", "all"],
        doc("how items are drawn, without replacement; all: the whole catalogue"),
    ] = "uniform",
    standardize: Standardize = None,
    side_features: SideFeatures = False,
    min_actions: MinActions = 0,
    user_drift: drift.UserDrift = 0.0,
) -> tuple[Environment, Params]:
    """Offer each user `num_actions` distinct items in random order; users come with replacement.

    Source: TF-Agents, MovieLensPerArmPyEnvironment.
    """
    num_items = ratings.num_items
    if arms != "all":
        check_num_actions(ratings, num_actions)
    tables = build_tables(ratings, factorizer, rank_k, observation, standardize, side_features)
    offered = num_items if arms == "all" else num_actions
    weights = np.cumsum(tables.activity / tables.activity.sum()) if users == "activity" else None
    popularity = np.log(np.maximum(tables.popularity, 0.5)) if arms == "popularity" else None
    params = _params(tables, weights, popularity, reward, reward_sd, user_drift)

    def observe(key: Key[Array, ""], params: Params, state: Any, batch_size: int) -> tuple[Context, Array]:
        user_key, arm_key = prng.split(key)
        if params.users is None:
            user_id = sampling.uniform(user_key, params.user.shape[0], batch_size)
        else:
            user_id = sampling.weighted(user_key, params.users, batch_size)
        if arms == "all":
            arm_id = None
        elif params.items is None:
            arm_id = sampling.distinct(arm_key, num_items, batch_size, offered)
        else:
            arm_id = sampling.weighted_distinct(arm_key, params.items, batch_size, offered)
        context = Context(user=params.user[user_id], user_id=user_id, arm_id=arm_id, catalogue=params.catalogue)
        return context, mean_reward(reward, params.reward, _ratings(params, state, user_id, arm_id))

    bounds = reward_range(reward, tables.low, tables.high)
    spec = Spec(offered, tables.user.shape[1], tables.item.shape[1], bounds)
    return offer_some(Environment(spec, _init, observe, _pay(reward), tables.facts), min_actions), params


def mf(
    ratings: Ratings,
    *,
    num_actions: NumActions = 20,
    factorizer: Factorizer = "als",
    rank_k: RankK = 20,
    observation: Observation = "same",
    reward: RewardKind = "expected",
    reward_sd: RewardSd = 0.5,
    users: Users = "uniform",
    standardize: Standardize = None,
    side_features: SideFeatures = False,
    min_actions: MinActions = 0,
    user_drift: drift.UserDrift = 0.0,
) -> tuple[Environment, Params]:
    """Offer the first `num_actions` items of the data to every user; the users of a batch are distinct.

    With `svd` only these items and the users who rated one of them are factorised, and the observation is U sqrt(S), so
    that with rank_k = num_actions the reward is the rating itself, 0 where there is none.
    Source: TF-Agents, MovieLensPyEnvironment.
    """
    tables = build_tables(ratings, factorizer, rank_k, observation, standardize, side_features, num_actions)
    weights = np.log(np.maximum(tables.activity, 0.5)) if users == "activity" else None
    params = _params(tables, weights, None, reward, reward_sd, user_drift)
    num_users = len(tables.user)

    def observe(key: Key[Array, ""], params: Params, state: Any, batch_size: int) -> tuple[Context, Array]:
        if batch_size > num_users:
            raise InputError(
                f"batch_size is {batch_size}; the users of a batch are distinct and there are {num_users}: "
                f"allowed: 1 to {num_users}"
            )
        log_weight = jnp.zeros(num_users) if params.users is None else params.users
        user_id = sampling.weighted_distinct(key, log_weight, 1, batch_size)[0]
        context = Context(user=params.user[user_id], user_id=user_id)
        return context, mean_reward(reward, params.reward, _ratings(params, state, user_id, None))

    spec = Spec(num_actions, tables.user.shape[1], 0, reward_range(reward, tables.low, tables.high))
    return offer_some(Environment(spec, _init, observe, _pay(reward), tables.facts), min_actions), params


def _params(
    tables: Tables,
    users: np.ndarray | None,
    items: np.ndarray | None,
    reward: Reward,
    reward_sd: Traced,
    user_drift: float,
) -> Params:
    return Params(
        user=jnp.asarray(tables.user),
        user_reward=jnp.asarray(tables.user_reward),
        catalogue=make_catalogue(tables.item),
        item_reward=None if tables.item_reward is None else jnp.asarray(tables.item_reward),
        users=None if users is None else jnp.asarray(users, jnp.float32),
        items=None if items is None else jnp.asarray(items, jnp.float32),
        reward=reward_params(reward, tables.mean, tables.low, tables.high, reward_sd),
        walk=drift.walk(tables.user_reward, user_drift),
    )


def _ratings(
    params: Params, state: Any, user_id: Int[Array, " B"], arm_id: Int[Array, "B K"] | None
) -> Float[Array, "B K"]:
    """Approximate ratings, before the mean is added and the scale clips them."""
    user = (params.user_reward if params.walk is None else state)[user_id]
    item = params.catalogue.features if params.item_reward is None else params.item_reward
    if arm_id is None:
        return jnp.einsum("br,nr->bn", user, item, precision=jax.lax.Precision.HIGHEST)
    return jnp.einsum("br,bkr->bk", user, item[arm_id], precision=jax.lax.Precision.HIGHEST)


def _init(key: Key[Array, ""], params: Params) -> Any:
    return () if params.walk is None else params.user_reward


def _pay(kind: Reward) -> Any:
    def respond(
        key: Key[Array, ""], params: Params, state: Any, context: Context, means: Array, action: Array
    ) -> tuple[Any, Outcome]:
        if params.walk is not None:
            key, walk_key = prng.split(key)
            state = drift.step(walk_key, params.walk, state)
        reward = draw_reward(kind, key, params.reward, expected(means, action))
        return state, outcome(context, means, action, reward)

    return respond
