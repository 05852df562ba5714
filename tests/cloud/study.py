"""Suggestions, measurements and early stopping of a study. It stands for Vizier and has nothing of its cleverness."""

import datetime
import itertools
import json
import math
import random
import statistics
from collections.abc import Iterator
from typing import Any

from google.cloud import aiplatform_v1 as v1
from google.protobuf import duration_pb2, struct_pb2

Parameters = list[v1.Trial.Parameter]
ENOUGH_TO_JUDGE = 2  # completed trials, before another one is stopped


def suggestions(study: v1.StudySpec, seed: int) -> Iterator[Parameters]:
    """Yield the parameters of one trial after the other: a whole grid in its order, or random ones without end."""
    if study.algorithm == v1.StudySpec.Algorithm.GRID_SEARCH:
        for values in itertools.product(*(_grid(parameter) for parameter in study.parameters)):
            yield [_parameter(spec, value) for spec, value in zip(study.parameters, values, strict=True)]
        return
    generator = random.Random(seed)
    while True:
        yield [_parameter(spec, _draw(spec, generator)) for spec in study.parameters]


def _kind(spec: v1.StudySpec.ParameterSpec) -> str:
    return v1.StudySpec.ParameterSpec.pb(spec).WhichOneof("parameter_value_spec")


def _grid(spec: v1.StudySpec.ParameterSpec) -> list[Any]:
    if _kind(spec) == "integer_value_spec":
        return list(range(spec.integer_value_spec.min_value, spec.integer_value_spec.max_value + 1))
    return list(getattr(spec, _kind(spec)).values)


def _draw(spec: v1.StudySpec.ParameterSpec, generator: random.Random) -> Any:
    if _kind(spec) in ("discrete_value_spec", "categorical_value_spec"):
        return generator.choice(_grid(spec))
    low, high = getattr(spec, _kind(spec)).min_value, getattr(spec, _kind(spec)).max_value
    part, scale = generator.random(), v1.StudySpec.ParameterSpec.ScaleType(spec.scale_type).name
    if scale == "UNIT_LOG_SCALE":
        value = low * (high / low) ** part
    elif scale == "UNIT_REVERSE_LOG_SCALE":
        value = low + high - low * (high / low) ** (1 - part)
    else:
        value = low + (high - low) * part
    value = min(max(value, low), high)
    return round(value) if _kind(spec) == "integer_value_spec" else value


def _parameter(spec: v1.StudySpec.ParameterSpec, value: Any) -> v1.Trial.Parameter:
    """A value as the service tells it: each number is a double."""
    told = struct_pb2.Value(string_value=value) if isinstance(value, str) else struct_pb2.Value(number_value=value)
    return v1.Trial.Parameter(parameter_id=spec.parameter_id, value=told)


def flags(study: v1.StudySpec, parameters: Parameters) -> list[str]:
    """The arguments that a trial gets after its own: 32.0 for a double or a discrete value, 32 for an integer."""
    kinds = {spec.parameter_id: _kind(spec) for spec in study.parameters}
    written = []
    for parameter in parameters:
        value = v1.Trial.Parameter.pb(parameter).value
        text = value.string_value if value.HasField("string_value") else repr(value.number_value)
        if kinds[parameter.parameter_id] == "integer_value_spec":
            text = str(int(value.number_value))
        written.append(f"--{parameter.parameter_id}={text}")
    return written


def read_measurements(text: str, trial: str, study: v1.StudySpec, start: datetime.datetime) -> list[v1.Measurement]:
    """Read a trial's metric file.

    Raises:
        ValueError: If a line is not what the service reads: JSON with numbers as strings, and a finite metric.
    """
    found = []
    for line in text.splitlines():
        record = json.loads(line)
        metrics = [m.metric_id for m in study.metrics if m.metric_id in record]
        if record.get("trial", trial) != trial or not metrics:
            continue
        if not all(isinstance(record[name], str) for name in (*metrics, "global_step")):
            raise ValueError(f"the metric and global_step must be strings: {line}")
        values = {name: float(record[name]) for name in metrics}
        if not all(math.isfinite(value) for value in values.values()):
            raise ValueError(f"a metric is not finite: {line}")
        found.append(
            v1.Measurement(
                elapsed_duration=duration_pb2.Duration(seconds=max(int(record["timestamp"] - start.timestamp()), 0)),
                step_count=int(float(record["global_step"])),
                metrics=[v1.Measurement.Metric(metric_id=name, value=value) for name, value in values.items()],
            )
        )
    return found


def objective(study: v1.StudySpec, measurement: v1.Measurement) -> float:
    """The first metric, so that more is better."""
    goal = study.metrics[0].goal
    value = {metric.metric_id: metric.value for metric in measurement.metrics}[study.metrics[0].metric_id]
    return value if goal == v1.StudySpec.MetricSpec.GoalType.MAXIMIZE else -value


def final_measurement(study: v1.StudySpec, measurements: list[v1.Measurement]) -> v1.Measurement | None:
    """The measurement that stands for a trial, or None if no measurement has all metrics of the study."""
    complete = [one for one in measurements if len(one.metrics) == len(study.metrics)]
    if not complete:
        return None
    if study.measurement_selection_type == v1.StudySpec.MeasurementSelectionType.BEST_MEASUREMENT:
        return max(complete, key=lambda one: objective(study, one))
    return complete[-1]


def hopeless(study: v1.StudySpec, trial: v1.Trial, completed: list[v1.Trial]) -> bool:
    """The median rule: the best of a trial is below the median of what completed ones had on average by then."""
    if "median_automated_stopping_spec" not in study or not trial.measurements or len(completed) < ENOUGH_TO_JUDGE:
        return False
    step = trial.measurements[-1].step_count
    averages = []
    for other in completed:
        by_then = [objective(study, one) for one in other.measurements if one.step_count <= step]
        averages += [statistics.fmean(by_then)] if by_then else []
    best = max(objective(study, one) for one in trial.measurements)
    return len(averages) >= ENOUGH_TO_JUDGE and best < statistics.median(averages)
