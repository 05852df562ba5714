"""Settings that all worlds of ratings share: their kinds, bounds and words, once. No world is made here."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, doc

from jaxbandit.envs.masks import MinActions
from jaxbandit.envs.matrix_factorization.drift import UserDrift
from jaxbandit.envs.matrix_factorization.rewards import Reward
from jaxbandit.types import Traced

Factorizer = Literal["als", "residual_svd", "svd", "truth"]
Observation = Literal["same", "als", "residual_svd", "svd", "truth"]


@dataclass(frozen=True)
class RewardSettings:
    """Which ratings are approximated, how, what they pay, and to whom."""

    num_actions: Annotated[int, Ge(2), doc("arms offered, K")] = 20
    factorizer: Annotated[Factorizer, doc("how ratings become rewards of all pairs")] = "als"
    rank_k: Annotated[int, Ge(1), doc("rank of the factorisation")] = 20
    observation: Annotated[Observation, doc("fit that the agent observes; same: the factorizer's")] = "same"
    reward: Annotated[Reward, doc("what is paid; regret is always on its mean")] = "expected"
    reward_sd: Annotated[Traced, Ge(0), doc("noise of reward=gaussian")] = 0.5
    reward_threshold: Annotated[
        float | None, doc("least star that reward=binary pays for; auto: in the top quarter of the scale")
    ] = None
    users: Annotated[
        Literal["uniform", "activity"], doc("how users are drawn; activity: by their number of ratings")
    ] = "uniform"


@dataclass(frozen=True)
class ViewSettings:
    """What agents see of users and items, which arms they may take, and whether tastes stay."""

    standardize: Annotated[
        bool | None,
        doc("divide observed columns by their root mean square, uncentred; auto: all observed fits but svd"),
    ] = None
    side_features: Annotated[bool, doc("append age, gender, occupation and genres to what is observed")] = False
    min_actions: MinActions = 0
    user_drift: UserDrift = 0.0
