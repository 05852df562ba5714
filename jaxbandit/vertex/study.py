"""A study: which flags are tuned, for which metric, by which algorithm. It is checked here and searched elsewhere."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from jaxbandit._core.errors import InputError, refused_name
from jaxbandit._core.hyperparameters import Hyperparameter
from jaxbandit.experiments.config import REGISTRIES, Config
from jaxbandit.experiments.ranges import KINDS, SCALES, Range, Value, Values, read_range
from jaxbandit.experiments.search_space import sweepable
from jaxbandit.reporting import setting_text
from jaxbandit.vertex.trainer.metric_file import METRICS
from jaxbandit.vertex.wire import Json

SCALE_TYPES = {"linear": "UNIT_LINEAR_SCALE", "log": "UNIT_LOG_SCALE", "reverse-log": "UNIT_REVERSE_LOG_SCALE"}
WORDS = (*KINDS, *SCALES, "discrete", "categorical")  # with which a range, or values, may begin
ALGORITHMS = {"bayesian": "ALGORITHM_UNSPECIFIED", "grid": "GRID_SEARCH", "random": "RANDOM_SEARCH"}
STOPPING: dict[str, dict[str, Json]] = {
    "none": {},
    "median": {"medianAutomatedStoppingSpec": {}},
    "decay-curve": {"decayCurveStoppingSpec": {}},
    "convex": {"convexAutomatedStoppingSpec": {}},
}
ALLOWED = "NAME=log:LOW:HIGH, NAME=linear:LOW:HIGH, NAME=int:LOW:HIGH or NAME=a,b,c, as alpha=log:0.01:30"
MOST_CORNERS = 256  # combinations of extreme values that are tried on the trainer's flags


class Parameter(NamedTuple):
    """One tuned flag, and what it is chosen from."""

    name: str  # of the flag, without --
    space: Range | Values  # of numbers or of texts alone

    @property
    def kind(self) -> Literal["double", "int", "discrete", "categorical"]:
        """What Vertex AI calls such a parameter."""
        if isinstance(self.space, Range):
            return "int" if self.space.kind == "int" else "double"
        return "categorical" if any(isinstance(value, str) for value in self.space.members) else "discrete"

    @property
    def spec(self) -> dict[str, Json]:
        """The ParameterSpec of a request."""
        spec: dict[str, Json] = {"parameterId": self.name}
        if isinstance(self.space, Values):
            return spec | {f"{self.kind}ValueSpec": {"values": list(self.space.members)}}
        spec["scaleType"] = SCALE_TYPES[self.space.scale]
        low, high = self.space.low, self.space.high
        if self.kind == "int":  # JSON has int64 as text
            return spec | {"integerValueSpec": {"minValue": str(low), "maxValue": str(high)}}
        return spec | {"doubleValueSpec": {"minValue": low, "maxValue": high}}

    def typed(self, value: int | float | str) -> Value:
        """Cast what the service returns, where every number is a double: 32.0 of whole numbers is 32."""
        if self.kind == "categorical":
            return str(value)
        is_whole = self.kind == "int" or (
            isinstance(self.space, Values) and all(isinstance(member, int) for member in self.space.members)
        )
        return round(float(value)) if is_whole else float(value)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values at which the trainer may refuse the flag: the least and the greatest number, or every text."""
        if isinstance(self.space, Range):
            return (self.space.low, self.space.high)
        return self.space.members if self.kind == "categorical" else (self.space.members[0], self.space.members[-1])


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
    def spec(self) -> dict[str, Json]:
        """The StudySpec of a request."""
        return {
            "metrics": [{"metricId": self.metric, "goal": self.goal}],
            "parameters": [parameter.spec for parameter in self.parameters],
            "algorithm": ALGORITHMS[self.algorithm],
            "measurementSelectionType": "LAST_MEASUREMENT",
            **STOPPING[self.stop_early],
        }

    def typed(self, parameters: Mapping[str, int | float | str]) -> dict[str, Value]:
        """Cast the values of a trial, by the names of their flags."""
        known = {parameter.name: parameter for parameter in self.parameters}
        return {name: known[name].typed(value) for name, value in parameters.items()}

    def corners(self) -> list[dict[str, Value]]:
        """Points where a refusal by the trainer would mean failing trials.

        Every extreme value beside the first ones of the others, and as many of their combinations as are reasonable.
        """
        ends = {parameter.name: parameter.ends for parameter in self.parameters}
        first = {name: values[0] for name, values in ends.items()}
        single = [first | {name: value} for name, values in ends.items() for value in values]
        combinations = itertools.islice(itertools.product(*ends.values()), MOST_CORNERS)
        return single + [dict(zip(ends, values, strict=True)) for values in combinations]

    @property
    def grid_points(self) -> int:
        """Points of the whole grid."""
        return math.prod(len(parameter.space.members) for parameter in self.parameters)


def read_parameters(texts: Sequence[str], base: Config | None = None) -> tuple[Parameter, ...]:
    """Read `alpha=log:0.01:30` and the like, for trainings whose other flags say `base`.

    Raises:
        InputError: one cannot be read, has an empty range, or a name comes twice.
    """
    named = [_named(text) for text in texts]
    names = [name for name, _ in named]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise InputError(f"tune has {twice} twice; allowed: once")
    settings = _settings(base or Config(), dict(named))
    return tuple(_parameter(name, text, settings.get(name)) for name, text in named)


def restored(name: str, space: Mapping[str, Any]) -> Parameter:
    """Make a parameter of its JSON."""
    return Parameter(name, Values(tuple(space["members"])) if "members" in space else Range(**space))


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
        raise InputError(f"tune has double {doubles[0]} in a grid search; allowed there: int:LOW:HIGH or a,b,c")
    return study


def _named(text: str) -> tuple[str, str]:
    name, _, rest = text.partition("=")
    name = name.strip().removeprefix("--").replace("_", "-")
    if not name or not rest:
        raise InputError(f"tune is {text!r}; allowed: {ALLOWED}")
    return name, rest


def _settings(base: Config, tuned: Mapping[str, str]) -> dict[str, Hyperparameter]:
    """Settings of the agents and environments of the trials, by the names of their flags."""
    chosen = {kind: _texts(tuned.get(kind, getattr(base, kind))) for kind in REGISTRIES}
    known = ([name for name in chosen[kind] if name in REGISTRIES[kind]] for kind in ("agent", "env"))
    return {name: setting for pair in itertools.product(*known) for name, setting in sweepable(*pair).items()}


def _texts(text: str) -> list[str]:
    return [part.strip() for part in text.removeprefix("categorical:").split(",")]


def _parameter(name: str, text: str, setting: Hyperparameter | None) -> Parameter:
    """Make the parameter of a flag, which need not be a setting."""
    word, colon, _ = text.partition(":")
    if colon and word not in WORDS and (setting is None or setting.kind != "text"):
        raise InputError(f"tune is {f'{name}={text}'!r}; allowed: {ALLOWED}")
    if setting is None or word == "categorical":
        setting = Hyperparameter(name, _kind(text), "", (), (), "")
    elif word == "int" and setting.kind == "float":  # whole numbers are floats too
        setting = setting._replace(kind="int")
    try:
        space = read_range(setting, text)
    except InputError as error:
        raise InputError(f"tune {error}") from None
    if isinstance(space, Range):
        return Parameter(name, space)
    if len(space.members) <= text.count(","):
        raise InputError(f"tune {name} is {text!r}; allowed: different values")
    numbers = [value for value in space.members if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(numbers) == len(space.members):
        return Parameter(name, Values(tuple(sorted(numbers))))
    return Parameter(name, Values(tuple("auto" if value is None else setting_text(value) for value in space.members)))


def _kind(text: str) -> Literal["int", "float", "text"]:
    """Kind of the values that a text names, where no setting says it."""
    word = text.partition(":")[0]
    if word in WORDS and word != "discrete":
        return "int" if word == "int" else "text" if word == "categorical" else "float"
    try:
        numbers = [float(part) for part in text.removeprefix("discrete:").split(",")]
    except ValueError:
        return "float" if word == "discrete" else "text"
    return "int" if all(number.is_integer() for number in numbers) else "float"
