"""Ratings in, arrays out: readers, downloads, generated worlds, descriptions. NumPy and Polars only, no JAX.

Factorising ratings, which needs JAX, lives in `data.factorization`; what pays rewards by them lives in `envs`.
"""

from jaxbandit.data.columns import Columns
from jaxbandit.data.describe import describe, gini, plot
from jaxbandit.data.download import cache_dir, cached, fetch
from jaxbandit.data.labelled import SHIPPED, Labelled, load_labelled
from jaxbandit.data.loading import load
from jaxbandit.data.ratings import Ratings, Truth
from jaxbandit.data.readers import check_options, read
from jaxbandit.data.registry import DATASETS, Dataset
from jaxbandit.data.synthetic import WORLDS, World, generate, synth
from jaxbandit.data.validation import DUPLICATES

__all__ = [
    "DATASETS",
    "DUPLICATES",
    "SHIPPED",
    "WORLDS",
    "Columns",
    "Dataset",
    "Labelled",
    "Ratings",
    "Truth",
    "World",
    "cache_dir",
    "cached",
    "check_options",
    "describe",
    "fetch",
    "generate",
    "gini",
    "load",
    "load_labelled",
    "plot",
    "read",
    "synth",
]
