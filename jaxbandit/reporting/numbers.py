"""Numbers as a person reads them: as many digits as the standard error allows. Computes no statistics."""

import math
from collections.abc import Mapping, Sequence
from typing import TypedDict

NO_NUMBER = "not finite"
UNKNOWN = "–"


class Estimate(TypedDict):
    """A mean over seeds and its standard error; None where they are not finite, or not defined."""

    mean: float | None
    stderr: float | None


def format_number(value: float) -> str:
    """Format with four significant digits and thousands separators; integers above them are kept whole."""
    if not math.isfinite(value):
        return NO_NUMBER
    if value == 0:
        return "0"
    decimals = 3 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(decimals, 0)}f}" if decimals <= 8 else f"{value:.3g}"


def format_estimate(estimate: Estimate, *, scale: float = 1.0, unit: str = "") -> str:
    """Format mean ± s.e. to the first digit of the error, to the second where that is 1: 3.912 ± 0.014, 3.91 ± 0.04."""
    mean, stderr = estimate["mean"], estimate["stderr"]
    if mean is None:
        return NO_NUMBER
    mean = mean * scale
    if not stderr:  # one seed, or all seeds alike
        return format_number(mean) + unit
    stderr = stderr * scale
    decimals = _decimals(stderr)
    if decimals > 8:  # an error this small would print as a row of zeros
        return f"{format_number(mean)} ± {stderr:.1g}{unit}"
    return f"{mean:,.{decimals}f} ± {stderr:,.{decimals}f}{unit}"


def format_difference(mean: float | None, low: float | None, high: float | None, *, scale: float = 1.0) -> str:
    """Format a difference with its interval, to the digits that the interval allows: +0.012 [0.003, 0.021]."""
    if mean is None:
        return UNKNOWN
    if low is None or high is None or not low < high:  # one seed, or all seeds alike
        return ("+" if mean > 0 else "") + format_number(mean * scale)
    decimals = min(_decimals((high - low) / 4 * scale), 12)
    mean, low, high = (round(value * scale, decimals) + 0.0 for value in (mean, low, high))  # + 0.0: no -0
    return f"{mean:+,.{decimals}f} [{low:,.{decimals}f}, {high:,.{decimals}f}]"


def setting_text(value: object) -> str:
    """Format the value of a setting exactly, as a flag takes it, but (64, 32) as 64x32."""
    if isinstance(value, bool):
        return str(value).lower()
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


def format_setting(value: object) -> str:
    """Format the value of a setting for a table or a picture: floats to four significant digits."""
    if value is None:
        return UNKNOWN
    return f"{float(f'{value:.4g}'):g}" if isinstance(value, float) else setting_text(value)


def name_settings(settings: Mapping[str, object], names: Sequence[str]) -> str:
    """Name a configuration by its agent and those of the settings `names` that it has: `linucb alpha=0.3`."""
    parts = [str(settings["agent"])] if settings.get("agent") is not None else []
    parts += [f"{n}={format_setting(settings[n])}" for n in names if n != "agent" and settings.get(n) is not None]
    return " ".join(parts)


def format_range(numbers: Sequence[int]) -> str:
    """Format sorted numbers as the first to the last: 3 to 8."""
    return f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"


def format_duration(seconds: float) -> str:
    """Format as 0:09, 12:34 or 1:02:03."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _decimals(stderr: float) -> int:
    """Count the decimals that show the first digit of an error, or the second where the first is 1."""
    exponent = math.floor(math.log10(stderr))
    return max((1 if stderr / 10**exponent < 2 else 0) - exponent, 0)
