"""Cloud Logging's entries of what the replicas have written to stdout and stderr."""

from enum import IntEnum
from typing import Any

from google.api.monitored_resource_pb2 import MonitoredResource
from google.cloud.logging_v2.types import ListLogEntriesRequest, ListLogEntriesResponse, LogEntry
from google.logging.type.log_severity_pb2 import LogSeverity
from google.protobuf import struct_pb2

from . import filters
from .calls import NUMBER, PROJECT, Refusal, grpc, invalid, page
from .replicas import Line

Severity = IntEnum("Severity", dict(LogSeverity.items()))  # so that a filter can compare them


class LoggingService:
    """google.logging.v2.LoggingServiceV2."""

    def __init__(self, lines: list[Line]):
        self._lines = lines

    def list_log_entries(self, request: ListLogEntriesRequest) -> ListLogEntriesResponse:
        for name in request.resource_names:
            if name not in (f"projects/{PROJECT}", f"projects/{NUMBER}"):
                raise Refusal(grpc.StatusCode.PERMISSION_DENIED, f"Permission denied on resource {name}.")
        if not request.resource_names:
            raise invalid("resource_names is required.")
        if request.order_by not in ("", "timestamp asc", "timestamp desc"):
            raise invalid(f"order_by '{request.order_by}' is not 'timestamp asc' or 'timestamp desc'.")
        terms = filters.parse(request.filter)
        found = [
            line for line in list(self._lines) if filters.matches(terms, lambda path, line=line: _field(line, path))
        ]
        if request.order_by == "timestamp desc":
            found.reverse()
        lines, token = page(found, request.page_size, request.page_token, 1000)
        return ListLogEntriesResponse(entries=[_entry(line) for line in lines], next_page_token=token)


def _severity(line: Line) -> Severity:
    return Severity.ERROR if line.stream == "stderr" else Severity.INFO


def _labels(line: Line) -> dict[str, str]:
    return {"ml.googleapis.com/trial_id": line.trial} if line.trial else {}


def _resource(line: Line) -> dict[str, str]:
    return {"job_id": line.job, "project_id": PROJECT, "task_name": line.task}


def _entry(line: Line) -> LogEntry:
    payload = struct_pb2.Struct()
    payload.update({"message": line.text, "levelname": _severity(line).name})
    return LogEntry(
        log_name=f"projects/{PROJECT}/logs/{line.task}",
        resource=MonitoredResource(type="ml_job", labels=_resource(line)),
        labels=_labels(line),
        timestamp=line.time,
        severity=_severity(line),
        insert_id=str(line.time.timestamp()),
        json_payload=payload,
    )


def _field(line: Line, path: tuple[str, ...]) -> Any:
    """The value of a field that entries are filtered by."""
    match path:
        case ("resource", "type"):
            return "ml_job"
        case ("resource", "labels", name):
            return _resource(line).get(name)
        case ("labels", name):
            return _labels(line).get(name)
        case ("timestamp",):
            return line.time
        case ("severity",):
            return _severity(line)
        case ("logName",):
            return f"projects/{PROJECT}/logs/{line.task}"
    raise invalid(f"Field {'.'.join(path)} is unknown.")
