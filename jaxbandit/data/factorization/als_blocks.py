"""Ratings cut into blocks of one shape for batched solves: the layout only, no mathematics.

Rows (users, or items) differ in their numbers of ratings by a factor of a thousand; a compiled program has one shape.
So the ratings of a row are cut into chunks of 32, and whole rows are packed into blocks with a fixed number of chunks.

Source: Mehta, Rendle, Krichene and Zhang 2021, "ALX: Large Scale Matrix Factorization on TPUs", section 4.3,
https://arxiv.org/abs/2112.02194
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from jaxbandit._core.integers import ceil_div

CHUNK = 32  # ratings; a longer chunk pads more, a shorter one sums more Gram matrices
BLOCK = 1024  # chunks: at rank 32 the block's Gram matrices take 5 MB, so they stay in the CPU's cache
CHUNKS_PER_ROW = 3  # a block has room for one row per three chunks


class Block(NamedTuple):
    """Whole rows and all their ratings: C chunks of 32, at most M rows."""

    column: Int[Array | np.ndarray, "C 32"]  # -1 marks padding
    rating: Float[Array | np.ndarray, "C 32"]
    segment: Int[Array | np.ndarray, "C"]  # the chunk's row within the block, sorted
    row: Int[Array | np.ndarray, "M"]  # the block's rows; padded with the number of rows, which is no row


def block_size(*sides: Int[np.ndarray, "R"]) -> int:
    """Return the number of chunks of a block, one for all sides, so that they share one compiled program.

    It is a power of two that holds the longest row of each side.
    """
    chunks = [ceil_div(np.bincount(side), CHUNK) for side in sides]
    wanted = max(max(int(c.max()), min(BLOCK, int(c.sum()))) for c in chunks)
    return 1 << (wanted - 1).bit_length()


def cut(
    row: Int[np.ndarray, "R"], column: Int[np.ndarray, "R"], rating: Float[np.ndarray, "R"], num_rows: int, size: int
) -> Iterator[Block]:
    """Yield blocks of `size` chunks that hold every rating once; rows without ratings are in no block."""
    order = np.argsort(row, kind="stable")
    counts = np.bincount(row)
    rows = np.flatnonzero(counts)
    counts = counts[rows]
    chunks = ceil_div(counts, CHUNK)
    first_rating, first_chunk = np.cumsum(counts) - counts, np.cumsum(chunks) - chunks
    # A chunk starts at the first rating of its row, plus 32 for each earlier chunk of that row.
    owner = np.repeat(np.arange(len(rows)), chunks)
    start = first_rating[owner] + CHUNK * (np.arange(len(owner)) - first_chunk[owner])
    stop = np.minimum(start + CHUNK, (first_rating + counts)[owner])
    most = max(1, size // CHUNKS_PER_ROW)
    begin = 0
    while begin < len(rows):
        room = np.searchsorted(first_chunk + chunks, first_chunk[begin] + size, side="right")
        end = min(int(room), begin + most)
        part = slice(first_chunk[begin], first_chunk[begin] + chunks[begin:end].sum())
        place = start[part, None] + np.arange(CHUNK)
        kept = place < stop[part, None]
        source = order[np.minimum(place, len(order) - 1)]
        pad = size - len(source)
        yield Block(
            column=np.pad(np.where(kept, column[source], -1), ((0, pad), (0, 0)), constant_values=-1).astype(np.int32),
            rating=np.pad(np.where(kept, rating[source], 0), ((0, pad), (0, 0))).astype(np.float32),
            segment=np.pad(owner[part] - begin, (0, pad), constant_values=most - 1).astype(np.int32),
            row=np.pad(rows[begin:end], (0, most - (end - begin)), constant_values=num_rows).astype(np.int32),
        )
        begin = end
