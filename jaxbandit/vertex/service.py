"""Vertex AI and Cloud Logging through Google's clients. Its other clients are imported in `buckets` and `control`."""

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from jaxbandit._core.errors import InputError
from jaxbandit.vertex.answers import ANSWER, PATIENCE, SCOPES, from_sdk, translated
from jaxbandit.vertex.buckets import Buckets
from jaxbandit.vertex.requests import TUNING
from jaxbandit.vertex.trainer import experiments
from jaxbandit.vertex.wire import JobJson, Json

ENTRIES, FEW = 1000, 20  # of logs at a time


class Vertex(Buckets):
    """The services of one project and region. Jobs go in and come out as JSON of the REST API."""

    def __init__(self, project: str, region: str) -> None:
        """Make the clients.

        Raises:
            InputError: the SDK or credentials are missing.
        """
        super().__init__(project, region)
        self.project = project
        with from_sdk():
            import google.auth
            from google.api_core import exceptions, retry
            from google.cloud import aiplatform_v1
        endpoint = os.environ.get(experiments.ENDPOINT, f"{region}-aiplatform.googleapis.com")
        with translated("credentials"):
            credentials, _ = google.auth.default(scopes=SCOPES)
            options: dict[str, Any] = {"credentials": credentials, "client_options": {"api_endpoint": endpoint}}
            self._sdk = aiplatform_v1
            self._jobs = aiplatform_v1.JobServiceClient(**options)
            self._options = options
        # over gRPC what is not answered in time is a DeadlineExceeded, which the SDK's own predicate leaves out
        transient = retry.if_exception_type(
            exceptions.TooManyRequests,
            exceptions.InternalServerError,
            exceptions.ServiceUnavailable,
            exceptions.GatewayTimeout,
        )
        again = retry.Retry(predicate=transient, initial=1.0, maximum=30.0, timeout=PATIENCE)
        self._reading: dict[str, Any] = {"retry": again, "timeout": ANSWER}

    def create(self, kind: str, body: Mapping[str, Json]) -> str:
        """Create a job and return its name. It is asked once: no answer does not mean that there is no job.

        Raises:
            InputError: it was refused: quota, permission, a wrong request.
            Failure: there was no answer.
        """
        parent, text = f"projects/{self.project}/locations/{self.region}", json.dumps(body)
        with translated("the job"):
            if kind == TUNING:
                tuning = self._sdk.HyperparameterTuningJob.from_json(text)
                return self._jobs.create_hyperparameter_tuning_job(
                    parent=parent, hyperparameter_tuning_job=tuning, timeout=ANSWER
                ).name
            job = self._sdk.CustomJob.from_json(text)
            return self._jobs.create_custom_job(parent=parent, custom_job=job, timeout=ANSWER).name

    def get(self, name: str) -> JobJson:
        """Read a job; a service that does not answer is asked again for some minutes."""
        get = self._jobs.get_hyperparameter_tuning_job if f"/{TUNING}/" in name else self._jobs.get_custom_job
        with translated(name):
            return _json(get(name=name, **self._reading))

    def find(self, kind: str, labels: Mapping[str, str]) -> str | None:
        """Name of the newest job with all these labels."""
        wanted = " AND ".join(f'labels.{name}="{value}"' for name, value in labels.items())
        request = {"parent": f"projects/{self.project}/locations/{self.region}", "filter": wanted}
        with translated("the list of jobs"):
            is_tuning = kind == TUNING
            jobs: Any = self._jobs.list_hyperparameter_tuning_jobs if is_tuning else self._jobs.list_custom_jobs
            oldest_first = sorted(jobs(request=request, **self._reading), key=lambda job: job.create_time)
            return oldest_first[-1].name if oldest_first else None

    def cancel(self, name: str) -> None:
        """Ask for a job to be cancelled."""
        is_tuning = f"/{TUNING}/" in name
        cancel = self._jobs.cancel_hyperparameter_tuning_job if is_tuning else self._jobs.cancel_custom_job
        with translated(name):
            cancel(name=name, **self._reading)

    def tensorboard(self, name: str) -> str:
        """Resource name of a managed TensorBoard, which is made if there is none of this display name."""
        if name.startswith("projects/"):
            return name
        parent = f"projects/{self.project}/locations/{self.region}"
        with translated(f"tensorboard {name}"):
            client = self._sdk.TensorboardServiceClient(**self._options)
            request = {"parent": parent, "filter": f'display_name="{name}"'}
            boards = client.list_tensorboards(request=request, **self._reading)
            if first := next(iter(boards), None):
                return first.name
            board = self._sdk.Tensorboard(display_name=name)
            return client.create_tensorboard(parent=parent, tensorboard=board).result(timeout=PATIENCE).name

    def logs(self, name: str, trial: str | None = None) -> Iterator[str]:
        """Lines that the containers of a job, or of one trial, have printed."""
        for entry in self._entries(name, trial, "timestamp asc", ENTRIES):
            yield f"{entry.timestamp:%Y-%m-%d %H:%M:%S} {_text(entry)}"

    def last_line(self, name: str, trial: str | None = None) -> str:
        """The last line that the containers of a job, or of one trial, have printed."""
        own = ' AND resource.labels.task_name!="service"'  # which speaks of the job
        texts = (_text(entry).strip() for entry in self._entries(name, trial, "timestamp desc", FEW, own))
        return next((text.splitlines()[-1] for text in texts if text), "")

    def _entries(self, name: str, trial: str | None, order: str, size: int, more: str = "") -> Iterator[Any]:
        try:
            from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
        except ImportError:
            raise InputError("google-cloud-logging is missing; pip install 'jaxbandit[vertex]'") from None
        wanted = f'resource.type="ml_job" AND resource.labels.job_id="{name.rpartition("/")[2]}"'
        if trial is not None:
            wanted += f' AND labels."ml.googleapis.com/trial_id"="{trial}"'
        wanted += more
        endpoint = os.environ.get("JAXBANDIT_LOGGING_ENDPOINT", "logging.googleapis.com")
        request = {
            "resource_names": [f"projects/{self.project}"],
            "filter": wanted,
            "order_by": order,
            "page_size": size,
        }
        with translated("the logs"):
            client = LoggingServiceV2Client(**self._options | {"client_options": {"api_endpoint": endpoint}})
            yield from client.list_log_entries(request=request, **self._reading)


def _json(job: Any) -> JobJson:
    from google.protobuf import json_format

    return json_format.MessageToDict(type(job).pb(job))


def _text(entry: Any) -> str:
    payload = entry.json_payload
    return entry.text_payload or str(dict(payload).get("message", "") if payload else "").rstrip()
