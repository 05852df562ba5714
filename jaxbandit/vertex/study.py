"""What a hyperparameter tuning job searches: parameters, metric, algorithm. Checked here, searched elsewhere."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit.vertex.trainer.metric_file import METRICS

Value = str | int | float  # of a tuned flag
KINDS = ("double", "int", "discrete", "categorical")
SCALES = {"linear": "UNIT_LINEAR_SCALE", "log": "UNIT_LOG_SCALE", "reverse-log": "UNIT_REVERSE_LOG_SCALE"}
ALGORITHMS = {"bayesian": "ALGORITHM_UNSPECIFIED", "grid": "GRID_SEARCH", "random": "RANDOM_SEARCH"}
STOPPING: dict[str, dict[str, Any]] = {
    "none": {},
    "median": {"medianAutomatedStoppingSpec": {}},
    "decay-curve": {"decayCurveStoppingSpec": {}},
    "convex": {"convexAutomatedStoppingSpec": {}},
}
ALLOWED = (
    "NAME=double:[log:]LOW:HIGH, NAME=int:[log:]LOW:HIGH, NAME=discrete:1,2,3 or NAME=categorical:a,b, "
    "as alpha=double:log:0.01:30"
)
MOST_CORNERS = 256  # combinations of extreme values that are tried on the trainer's flags


class Parameter(NamedTuple):
    """One tuned flag: a range, or a few values."""

    name: str  # of the flag, without --
    kind: Literal["double", "int", "discrete", "categorical"]
    values: tuple[Any, ...]  # of a range its ends
    scale: Literal["linear", "log", "reverse-log"] = "linear"

    @property
    def spec(self) -> dict[str, Any]:
        """The ParameterSpec of a request."""
        spec: dict[str, Any] = {"parameterId": self.name}
        if self.kind == "categorical":
            return spec | {"categoricalValueSpec": {"values": list(self.values)}}
        if self.kind == "discrete":
            return spec | {"discreteValueSpec": {"values": list(self.values)}}
        low, high = (str(value) if self.kind == "int" else value for value in self.values)  # JSON has int64 as text
        kind = {"double": "doubleValueSpec", "int": "integerValueSpec"}[self.kind]
        return spec | {kind: {"minValue": low, "maxValue": high}, "scaleType": SCALES[self.scale]}

    def at(self, share: float) -> Any:
        """Value at a share of the range, or of the values, in [0, 1)."""
        if self.kind in ("discrete", "categorical"):
            return self.typed(self.values[int(share * len(self.values))])
        low, high = self.values
        if self.kind == "int" and self.scale == "linear":
            return low + int(share * (high - low + 1))
        if self.scale == "reverse-log":
            return self.typed(low + high - low * (high / low) ** (1 - share))
        return self.typed(low * (high / low) ** share if self.scale == "log" else low + share * (high - low))

    def typed(self, value: Any) -> Any:
        """Cast what the service returns, where every number is a double: 32.0 of whole numbers is 32."""
        if self.kind == "categorical":
            return str(value)
        whole = self.kind == "int" or (self.kind == "discrete" and all(float(v).is_integer() for v in self.values))
        return round(float(value)) if whole else float(value)


@dataclass(frozen=True)
class Study:
    """A search for the best values of some flags, each trial a training of its own."""

    parameters: tuple[Parameter, ...] = ()
    metric: str = "final_average_return"
    algorithm: str = "bayesian"  # or random, grid
    trials: int = 24
    parallel: int = 4
    max_failed: int | None = None  # failed trials that end the study; by default half of them
    stop_early: str = "none"  # or median, decay-curve, convex

    @property
    def goal(self) -> str:
        """MAXIMIZE or MINIMIZE."""
        return METRICS[self.metric]

    @property
    def most_failed(self) -> int:
        """Failed trials that end the study."""
        return max(1, self.trials // 2) if self.max_failed is None else self.max_failed

    @property
    def waves(self) -> int:
        """Trials one after the other, where all take equally long."""
        return math.ceil(self.trials / self.parallel)

    @property
    def spec(self) -> dict[str, Any]:
        """The StudySpec of a request."""
        return {
            "metrics": [{"metricId": self.metric, "goal": self.goal}],
            "parameters": [parameter.spec for parameter in self.parameters],
            "algorithm": ALGORITHMS[self.algorithm],
            "measurementSelectionType": "LAST_MEASUREMENT",
            **STOPPING[self.stop_early],
        }

    def typed(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Cast the parameters of a trial, found by their names."""
        known = {parameter.name: parameter for parameter in self.parameters}
        return {name: known[name].typed(value) for name, value in parameters.items()}

    def corners(self) -> list[dict[str, Any]]:
        """Points where a refusal by the trainer would mean failing trials.

        Every extreme value beside the first ones of the others, and as many of their combinations as are reasonable.
        """
        ends = {p.name: p.values if p.kind == "categorical" else (p.values[0], p.values[-1]) for p in self.parameters}
        first = {name: values[0] for name, values in ends.items()}
        single = [first | {name: value} for name, values in ends.items() for value in values]
        combinations = itertools.islice(itertools.product(*ends.values()), MOST_CORNERS)
        return single + [dict(zip(ends, values, strict=True)) for values in combinations]

    @property
    def grid_points(self) -> int:
        """Points of the whole grid."""
        return math.prod(p.values[1] - p.values[0] + 1 if p.kind == "int" else len(p.values) for p in self.parameters)


def read_parameters(texts: Sequence[str]) -> tuple[Parameter, ...]:
    """Read `alpha=double:log:0.01:30` and the like.

    Raises:
        InputError: one cannot be read, has an empty range, or a name comes twice.
    """
    parameters = tuple(_read(text) for text in texts)
    names = [parameter.name for parameter in parameters]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"tune has {twice} twice; allowed: once")
    return parameters


def checked(study: Study) -> Study:
    """Return the study if all of it is allowed.

    Raises:
        InputError: nothing is tuned, an unknown name, a grid with a double in it, numbers that do not go together.
    """
    if not study.parameters:
        raise InputError(f"tune is missing; allowed: --tune {ALLOWED}")
    for field, value, known in (
        ("metric", study.metric, METRICS),
        ("algorithm", study.algorithm, ALGORITHMS),
        ("stop-early", study.stop_early, STOPPING),
    ):
        if value not in known:
            raise refused_name(f"unknown {field}", value, known)
    if study.trials < 1:
        raise InputError(f"trials is {study.trials}; allowed: a whole number > 0")
    if not 1 <= study.parallel <= study.trials:
        raise InputError(f"parallel is {study.parallel} of {study.trials} trials; allowed: 1 to {study.trials}")
    if not 1 <= study.most_failed <= study.trials:
        raise InputError(f"max-failed is {study.max_failed} of {study.trials} trials; allowed: 1 to {study.trials}")
    doubles = [parameter.name for parameter in study.parameters if parameter.kind == "double"]
    if study.algorithm == "grid" and doubles:
        raise InputError(f"tune has double {doubles[0]} in a grid search; allowed there: int, discrete, categorical")
    return study


def _read(text: str) -> Parameter:
    name, _, rest = text.partition("=")
    name = name.strip().removeprefix("--").replace("_", "-")
    kind, _, rest = rest.partition(":")
    if not name or kind not in KINDS or not rest:
        raise InputError(f"tune is {text!r}; allowed: {ALLOWED}")
    if kind in ("discrete", "categorical"):
        return Parameter(name, kind, _values(name, kind, rest))  # type: ignore[arg-type]
    parts = rest.split(":")
    scale = parts.pop(0) if parts[0] in SCALES else "linear"
    try:
        low, high = (_number(part, kind) for part in parts)
    except ValueError:
        raise InputError(f"tune {name} is {rest!r}; allowed: {ALLOWED}") from None
    if not low < high:
        raise InputError(f"tune {name} goes from {low} to {high}; allowed: a minimum below the maximum")
    if scale != "linear" and low <= 0:
        raise InputError(f"tune {name} goes from {low} on a {scale} scale; allowed: a minimum > 0")
    return Parameter(name, kind, (low, high), scale)  # type: ignore[arg-type]


def _values(name: str, kind: str, text: str) -> tuple[Any, ...]:
    try:
        values = [_number(part, kind) if kind == "discrete" else part.strip() for part in text.split(",")]
    except ValueError:
        raise InputError(f"tune {name} is {text!r}; allowed: numbers, as discrete:32,64,128") from None
    if "" in values or len(set(values)) < len(values):
        raise InputError(f"tune {name} is {text!r}; allowed: different values, none of them empty")
    return tuple(sorted(values)) if kind == "discrete" else tuple(values)


def _number(text: str, kind: str) -> Any:
    number = float(text)
    if not math.isfinite(number) or (kind == "int" and not number.is_integer()):
        raise ValueError
    return int(number) if kind == "int" else number
