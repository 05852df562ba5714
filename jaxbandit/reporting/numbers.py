"""Numbers as a person reads them: as many digits as the standard error allows. Computes no statistics."""

import math
from collections.abc import Mapping

NO_NUMBER = "not finite"


def format_number(value: float) -> str:
    """Format with four significant digits and thousands separators; integers above them are kept whole."""
    if not math.isfinite(value):
        return NO_NUMBER
    if value == 0:
        return "0"
    decimals = 3 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(decimals, 0)}f}" if decimals <= 8 else f"{value:.3g}"


def format_estimate(estimate: Mapping[str, float | None], *, scale: float = 1.0, unit: str = "") -> str:
    """Format mean ± s.e. to the first digit of the error, to the second where that is 1: 3.912 ± 0.014, 3.91 ± 0.04."""
    mean, stderr = estimate["mean"], estimate["stderr"]
    if mean is None:
        return NO_NUMBER
    mean = mean * scale
    if not stderr:  # one seed, or all seeds alike
        return format_number(mean) + unit
    stderr = stderr * scale
    exponent = math.floor(math.log10(stderr))
    decimals = max((1 if stderr / 10**exponent < 2 else 0) - exponent, 0)
    if decimals > 8:  # an error this small would print as a row of zeros
        return f"{format_number(mean)} ± {stderr:.1g}{unit}"
    return f"{mean:,.{decimals}f} ± {stderr:,.{decimals}f}{unit}"


def format_duration(seconds: float) -> str:
    """Format as 0:09, 12:34 or 1:02:03."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
