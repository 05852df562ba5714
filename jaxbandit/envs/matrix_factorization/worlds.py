"""The matrix-factorisation worlds: approximate ratings of every <user, item> pair are the rewards.

With p_u and q_i the factors of user u and item i, fitted to the ratings, the approximate rating is
clip(mean + p_u'q_i, lowest, highest) on the rating scale; `rewards` makes mean rewards and draws of it. `mf` offers the
same items in every round, `mf-per-arm` other ones to each user. What the agent observes comes from a fit of the
ratings; what it is paid comes from the same fit or from another one (misspecification). No fit is made here.

Source of both: Guadarrama et al. 2018, "TF-Agents", MovieLensPyEnvironment and MovieLensPerArmPyEnvironment,
https://github.com/tensorflow/agents/tree/master/tf_agents/bandits/environments.
"""

from typing import Annotated, Literal, NamedTuple, TypeAlias

import numpy as np
from annotated_types import doc
from jaxtyping import Array, Float, Int, Key

from jaxbandit._core import prng
from jaxbandit._core.arrays import floats
from jaxbandit._core.errors import InputError
from jaxbandit._core.hyperparameters import flat_settings
from jaxbandit._core.linalg import einsum
from jaxbandit.data import Ratings
from jaxbandit.envs import sampling
from jaxbandit.envs.masks import offer_some
from jaxbandit.envs.matrix_factorization import drift
from jaxbandit.envs.matrix_factorization.rewards import (
    Reward,
    RewardParams,
    draw_reward,
    mean_reward,
    reward_params,
    reward_range,
)
from jaxbandit.envs.matrix_factorization.settings import RewardSettings, ViewSettings
from jaxbandit.envs.matrix_factorization.tables import Tables, build_tables, check_num_actions
from jaxbandit.envs.outcome import expected, outcome
from jaxbandit.types import Catalogue, Context, Environment, Observe, Outcome, Respond, Spec, make_catalogue, rows_of


class Params(NamedTuple):
    """The world's arrays."""

    user: Float[Array, "U Du"]  # observed
    user_reward: Float[Array, "U r"]  # p_u: its product with the item's q_i is the rating less the mean, unclipped
    catalogue: Catalogue  # observed
    item_reward: Float[Array, "N r"] | None  # None: the catalogue's features serve
    users: Float[Array, " U"] | None  # cumulative weights in mf_per_arm, log weights in mf; None: uniform
    items: Float[Array, " N"] | None  # log weights; None: uniform
    reward: RewardParams
    walk: drift.Walk | None  # of user_reward, whose rows are then the state; None: tastes stay


Tastes: TypeAlias = Float[Array, "U r"] | tuple[()]  # rows of user_reward while they walk


@flat_settings
def mf_per_arm(
    ratings: Ratings,
    *,
    pay: RewardSettings = RewardSettings(),
    arms: Annotated[
        Literal["uniform", "popularity", "all"],
        doc("how items are drawn, without replacement; all: the whole catalogue"),
    ] = "uniform",
    view: ViewSettings = ViewSettings(),
) -> tuple[Environment[Params, Tastes], Params]:
    """Offer each user `num_actions` distinct items in random order; users come with replacement."""
    num_items = ratings.num_items
    if arms != "all":
        check_num_actions(ratings, pay.num_actions)
    tables = build_tables(ratings, pay, view)
    offered = num_items if arms == "all" else pay.num_actions
    weights = np.cumsum(tables.activity / tables.activity.sum()) if pay.users == "activity" else None
    popularity = np.log(np.maximum(tables.popularity, 0.5)) if arms == "popularity" else None

    def observe(key: Key[Array, ""], params: Params, state: Tastes, batch_size: int) -> tuple[Context, Array]:
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
        return context, mean_reward(pay.reward, params.reward, _scores(params, state, user_id, arm_id))

    spec = Spec(offered, tables.user.shape[1], tables.item.shape[1])
    return _world(spec, observe, tables, pay, view, weights, popularity)


@flat_settings
def mf(
    ratings: Ratings, *, pay: RewardSettings = RewardSettings(), view: ViewSettings = ViewSettings()
) -> tuple[Environment[Params, Tastes], Params]:
    """Offer the first `num_actions` items of the data to every user; the users of a batch are distinct.

    With `svd` only these items and the users who rated one of them are factorised, and the observation is U sqrt(S), so
    that with rank_k = num_actions the reward is the rating itself, 0 where there is none.
    """
    tables = build_tables(ratings, pay, view, fixed_items=pay.num_actions)
    weights = np.log(np.maximum(tables.activity, 0.5)) if pay.users == "activity" else None
    num_users = len(tables.user)

    def observe(key: Key[Array, ""], params: Params, state: Tastes, batch_size: int) -> tuple[Context, Array]:
        if batch_size > num_users:
            raise InputError(
                f"batch_size is {batch_size}; the users of a batch are distinct and there are {num_users}: "
                f"allowed: 1 to {num_users}"
            )
        if params.users is None:
            user_id = sampling.distinct_at_once(key, num_users, batch_size)
        else:
            user_id = sampling.weighted_distinct(key, params.users, 1, batch_size)[0]
        context = Context(user=params.user[user_id], user_id=user_id)
        return context, mean_reward(pay.reward, params.reward, _scores(params, state, user_id, None))

    return _world(Spec(pay.num_actions, tables.user.shape[1], 0), observe, tables, pay, view, weights, None)


def _world(
    spec: Spec,
    observe: Observe[Params, Tastes],
    tables: Tables,
    pay: RewardSettings,
    view: ViewSettings,
    users: np.ndarray | None,
    items: np.ndarray | None,
) -> tuple[Environment[Params, Tastes], Params]:
    """Put a world and its arrays together; `users` and `items` are the weights by which they are drawn."""
    params = Params(
        user=floats(tables.user),
        user_reward=floats(tables.user_reward),
        catalogue=make_catalogue(tables.item),
        item_reward=None if tables.item_reward is None else floats(tables.item_reward),
        users=None if users is None else floats(users),
        items=None if items is None else floats(items),
        reward=reward_params(
            pay.reward, tables.mean, tables.low, tables.high, pay.reward_sd, tables.rating, pay.reward_threshold
        ),
        walk=drift.walk(tables.user_reward, view.user_drift),
    )
    spec = spec._replace(reward_range=reward_range(pay.reward, tables.low, tables.high))
    environment = Environment(spec, _init, observe, _respond(pay.reward), tables.facts)
    return offer_some(environment, view.min_actions), params


def _scores(
    params: Params, state: Tastes, user_id: Int[Array, " B"], arm_id: Int[Array, "B K"] | None
) -> Float[Array, "B K"]:
    """Compute p_u'q_i, ratings less their mean, of the offered items; of all of them in one product of matrices."""
    tastes = params.user_reward if isinstance(state, tuple) else state
    user = tastes[user_id]
    item = params.catalogue.features if params.item_reward is None else params.item_reward
    return einsum("br,nr->bn", user, item) if arm_id is None else einsum("br,bkr->bk", user, rows_of(item, arm_id))


def _init(key: Key[Array, ""], params: Params) -> Tastes:
    return () if params.walk is None else params.user_reward


def _respond(kind: Reward) -> Respond[Params, Tastes]:
    def respond(
        key: Key[Array, ""], params: Params, state: Tastes, context: Context, means: Array, action: Array
    ) -> tuple[Tastes, Outcome]:
        if params.walk is not None and not isinstance(state, tuple):
            key, walk_key = prng.split(key)
            state = drift.step(walk_key, params.walk, state)
        reward = draw_reward(kind, key, params.reward, expected(means, action))
        return state, outcome(context, means, action, reward)

    return respond
