"""What every factoriser asks of its input before it works. It does not look at the ratings' values: readers did."""

from jaxbandit._core.errors import InputError
from jaxbandit.data.ratings import Ratings


def check_rank(ratings: Ratings, rank_k: int) -> None:
    """Raise InputError unless 1 <= rank_k <= min(U, N)."""
    limit = min(ratings.num_users, ratings.num_items)
    if not 1 <= rank_k <= limit:
        raise InputError(
            f"rank_k is {rank_k}; allowed: 1 to {limit}, the smaller of the {ratings.num_users} users and "
            f"{ratings.num_items} items of {ratings.name}"
        )
