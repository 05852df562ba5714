"""Whole numbers."""

from typing import TypeVar

import numpy as np

Whole = TypeVar("Whole", int, np.ndarray)


def ceil_div(dividend: Whole, divisor: int) -> Whole:
    """Divide and round up."""
    return -(-dividend // divisor)
