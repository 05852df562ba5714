"""Types of what Vertex AI's REST API takes and gives, as JSON. Requests are made in `requests`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
else:
    Json = object  # the tests check annotations at run time, by a library that knows no recursive alias


class ParameterJson(TypedDict, total=False):
    """The value of one tuned flag. Every number is a double; one that is 0 is left out."""

    parameterId: str
    value: str | int | float


class MetricJson(TypedDict, total=False):
    """The value of one metric; one that is 0 is left out."""

    metricId: str
    value: float


class MeasurementJson(TypedDict, total=False):
    """What a trial has reported at one time."""

    metrics: list[MetricJson]


class TrialJson(TypedDict, total=False):
    """A trial of a tuning job."""

    id: str
    state: str
    parameters: list[ParameterJson]
    finalMeasurement: MeasurementJson
    infeasibleReason: str


class ErrorJson(TypedDict, total=False):
    """Why a job has failed."""

    message: str


class JobJson(TypedDict, total=False):
    """A custom job, or a tuning job with its trials."""

    name: str
    state: str
    error: ErrorJson
    trials: list[TrialJson]
