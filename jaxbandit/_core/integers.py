"""Whole numbers."""


def ceil_div(dividend: int, divisor: int) -> int:
    """Divide and round up; works for arrays of whole numbers, too."""
    return -(-dividend // divisor)
