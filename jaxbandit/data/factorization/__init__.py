"""Ratings in, factors out: the factorisers, the quality of their factors, and a cache of fits. It reads no ratings.

A new factoriser is a function (ratings, rank_k) -> Factors that checks its input, and one line in FACTORIZERS.
"""

from dataclasses import replace

from jaxbandit._core.errors import unknown
from jaxbandit.data.factorization import als, svd
from jaxbandit.data.factorization import cache as fits
from jaxbandit.data.factorization.factors import Factors, truth
from jaxbandit.data.factorization.heldout import Factorizer, heldout_rmse, truth_correlation
from jaxbandit.data.ratings import Ratings

__all__ = ["FACTORIZERS", "Factors", "factorize"]

FACTORIZERS: dict[str, Factorizer] = {
    "als": als.als,
    "residual_svd": svd.residual_svd,
    "svd": svd.svd,
    "truth": truth,
}


def factorize(
    ratings: Ratings, factorizer: str = "als", rank_k: int = 20, *, evaluate: bool = True, cache: bool = True
) -> Factors:
    """Factorise ratings by a registered factoriser, or take the result of an equal call from the cache.

    With `evaluate`, a second fit on 90% of the ratings gives `heldout_rmse` (split by heldout.SPLIT_SEED), and for
    generated data `truth_correlation` is computed over all pairs.

    Raises:
        InputError: an unknown factoriser, or a rank or data that it does not take.
    """
    if factorizer not in FACTORIZERS:
        raise unknown("factorizer", factorizer, FACTORIZERS)
    name = fits.key(ratings, factorizer=factorizer, rank_k=rank_k, evaluate=evaluate) if cache else ""
    if cache and (kept := fits.load(name)) is not None:
        return kept
    fit = FACTORIZERS[factorizer]
    factors = fit(ratings, rank_k)
    if evaluate:
        factors = replace(
            factors,
            heldout_rmse=heldout_rmse(fit, ratings, rank_k),
            truth_correlation=None if ratings.truth is None else truth_correlation(factors, ratings.truth),
        )
    if cache:
        fits.store(name, factors)
    return factors
