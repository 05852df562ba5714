"""Write ratings as an .npz that a peer can read without this package. Run from the environment of jaxbandit.

Run: python benchmarks/peers/export.py [--ratings ml-100k] world.npz
"""

import argparse
from pathlib import Path

import numpy as np

from jaxbandit.data import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ratings", default="synth-100k", help="name or path")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    ratings = load(arguments.ratings)
    matrix = np.zeros((ratings.num_users, ratings.num_items), np.float32)
    matrix[ratings.user, ratings.item] = ratings.rating
    np.savez_compressed(arguments.out, name=ratings.name, matrix=matrix)


if __name__ == "__main__":
    main()
