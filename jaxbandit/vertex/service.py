"""Vertex AI, Cloud Storage and Cloud Logging through Google's clients. The launcher imports the SDK here alone."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jaxbandit._core.errors import Failure, InputError
from jaxbandit.vertex.requests import TUNING
from jaxbandit.vertex.trainer import experiments
from jaxbandit.vertex.wire import JobJson, Json

PATIENCE = 600.0  # seconds for which a question is asked again while the service does not answer
ANSWER = 60.0  # seconds to wait for an answer; a creation is never sent twice
ENTRIES = 1000  # of logs at a time


class Vertex:
    """The services of one project and region. Jobs go in and come out as JSON of the REST API."""

    def __init__(self, project: str, region: str) -> None:
        """Make the clients.

        Raises:
            InputError: the SDK or credentials are missing.
        """
        self.project, self.region = project, region
        try:
            import google.auth
            from google.api_core import exceptions, retry
            from google.cloud import aiplatform_v1, storage
        except ImportError as error:
            raise InputError(f"the cloud SDK is missing ({error.name}); pip install 'jaxbandit[vertex]'") from None
        endpoint = os.environ.get(experiments.ENDPOINT, f"{region}-aiplatform.googleapis.com")
        with _translated("credentials"):
            credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
            options: dict[str, Any] = {"credentials": credentials, "client_options": {"api_endpoint": endpoint}}
            self._sdk = aiplatform_v1
            self._jobs = aiplatform_v1.JobServiceClient(**options)
            self._options = options
            self._storage = storage.Client(project=project)
        # over gRPC what is not answered in time is a DeadlineExceeded, which the SDK's own predicate leaves out
        transient = retry.if_exception_type(
            exceptions.TooManyRequests,
            exceptions.InternalServerError,
            exceptions.ServiceUnavailable,
            exceptions.GatewayTimeout,
        )
        again = retry.Retry(predicate=transient, initial=1.0, maximum=30.0, timeout=PATIENCE)
        self._reading: dict[str, Any] = {"retry": again, "timeout": ANSWER}
        self._files: dict[str, Any] = {"retry": storage.retry.DEFAULT_RETRY.with_timeout(PATIENCE)}

    def check_bucket(self, uri: str) -> None:
        """Raise InputError unless the bucket exists and lies in the region alone."""
        from google.api_core import exceptions

        with _translated(f"bucket {uri}"):
            name = uri.removeprefix("gs://").partition("/")[0]
            try:
                bucket = self._storage.get_bucket(name, **self._files)
            except exceptions.NotFound:
                raise InputError(f"bucket is {uri!r}, which does not exist; allowed: one in {self.region}") from None
        if bucket.location.lower() != self.region:
            raise InputError(f"bucket is {uri!r}, which lies in {bucket.location}; allowed: one in {self.region}")

    def create(self, kind: str, body: Mapping[str, Json]) -> str:
        """Create a job and return its name. It is asked once: no answer does not mean that there is no job.

        Raises:
            InputError: it was refused: quota, permission, a wrong request.
            Failure: there was no answer.
        """
        parent, text = f"projects/{self.project}/locations/{self.region}", json.dumps(body)
        with _translated("the job"):
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
        with _translated(name):
            return _json(get(name=name, **self._reading))

    def find(self, kind: str, labels: Mapping[str, str]) -> str | None:
        """Name of the newest job with all these labels."""
        wanted = " AND ".join(f'labels.{name}="{value}"' for name, value in labels.items())
        request = {"parent": f"projects/{self.project}/locations/{self.region}", "filter": wanted}
        with _translated("the list of jobs"):
            is_tuning = kind == TUNING
            jobs: Any = self._jobs.list_hyperparameter_tuning_jobs if is_tuning else self._jobs.list_custom_jobs
            oldest_first = sorted(jobs(request=request, **self._reading), key=lambda job: job.create_time)
            return oldest_first[-1].name if oldest_first else None

    def cancel(self, name: str) -> None:
        """Ask for a job to be cancelled."""
        is_tuning = f"/{TUNING}/" in name
        cancel = self._jobs.cancel_hyperparameter_tuning_job if is_tuning else self._jobs.cancel_custom_job
        with _translated(name):
            cancel(name=name, **self._reading)

    def tensorboard(self, name: str) -> str:
        """Resource name of a managed TensorBoard, which is made if there is none of this display name."""
        if name.startswith("projects/"):
            return name
        parent = f"projects/{self.project}/locations/{self.region}"
        with _translated(f"tensorboard {name}"):
            client = self._sdk.TensorboardServiceClient(**self._options)
            request = {"parent": parent, "filter": f'display_name="{name}"'}
            boards = client.list_tensorboards(request=request, **self._reading)
            if first := next(iter(boards), None):
                return first.name
            board = self._sdk.Tensorboard(display_name=name)
            return client.create_tensorboard(parent=parent, tensorboard=board).result(timeout=PATIENCE).name

    def logs(self, name: str, trial: str | None = None) -> Iterator[str]:
        """Lines that the containers of a job, or of one trial, have printed."""
        try:
            from google.cloud.logging_v2.services.logging_service_v2 import LoggingServiceV2Client
        except ImportError:
            raise InputError("google-cloud-logging is missing; pip install 'jaxbandit[vertex]'") from None
        wanted = f'resource.type="ml_job" AND resource.labels.job_id="{name.rpartition("/")[2]}"'
        if trial is not None:
            wanted += f' AND labels."ml.googleapis.com/trial_id"="{trial}"'
        endpoint = os.environ.get("JAXBANDIT_LOGGING_ENDPOINT", "logging.googleapis.com")
        request = {
            "resource_names": [f"projects/{self.project}"],
            "filter": wanted,
            "order_by": "timestamp asc",
            "page_size": ENTRIES,
        }
        with _translated("the logs"):
            client = LoggingServiceV2Client(**self._options | {"client_options": {"api_endpoint": endpoint}})
            for entry in client.list_log_entries(request=request, **self._reading):
                yield f"{entry.timestamp:%Y-%m-%d %H:%M:%S} {_text(entry)}"

    def claim(self, uri: str, content: bytes) -> bool:
        """Put an object into the bucket unless there is one; return whether this has happened."""
        from google.api_core import exceptions

        with _translated(uri):
            try:
                self._blob(uri).upload_from_string(content, if_generation_match=0, **self._files)
            except exceptions.PreconditionFailed:
                return False
        return True

    def write(self, uri: str, content: bytes) -> None:
        """Put an object into the bucket, over what was there."""
        with _translated(uri):
            self._blob(uri).upload_from_string(content, **self._files)

    def delete(self, uri: str) -> None:
        """Remove an object from the bucket."""
        with _translated(uri):
            self._blob(uri).delete(**self._files)

    def files(self, uri: str) -> dict[str, str]:
        """Objects below a gs:// directory, by their paths within it."""
        with _translated(uri):
            bucket, _, prefix = uri.removeprefix("gs://").partition("/")
            prefix = prefix.rstrip("/") + "/"
            blobs = self._storage.list_blobs(bucket, prefix=prefix, **self._files)
            names = [blob.name.removeprefix(prefix) for blob in blobs]
            return {name: f"gs://{bucket}/{prefix}{name}" for name in names if name and not name.endswith("/")}

    def read(self, uri: str) -> bytes:
        """Read an object of the bucket."""
        with _translated(uri):
            return self._blob(uri).download_as_bytes(**self._files)

    def _blob(self, uri: str) -> Any:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self._storage.bucket(bucket).blob(name)


def _json(job: Any) -> JobJson:
    from google.protobuf import json_format

    return json_format.MessageToDict(type(job).pb(job))


def _text(entry: Any) -> str:
    payload = entry.json_payload
    return entry.text_payload or str(dict(payload).get("message", "") if payload else "").rstrip()


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turn the SDK's errors into one line that says what to do.

    Over gRPC errors are subclasses of the ones named here, over REST they are these.
    """
    import google.auth.exceptions as auth
    import requests as http
    from google.api_core import exceptions

    try:
        yield
    except (auth.DefaultCredentialsError, auth.RefreshError) as error:
        raise InputError(
            f"no credentials of Google Cloud ({_first_line(error)}); allowed: `gcloud auth application-default login`, "
            "or GOOGLE_APPLICATION_CREDENTIALS with the path of a service account's key"
        ) from None
    except exceptions.TooManyRequests as error:
        raise InputError(
            f"quota is exhausted: {error.message}; allowed: another --machine or --region, --scheduling spot, fewer "
            "--parallel, or ask for more at https://console.cloud.google.com/iam-admin/quotas"
        ) from None
    except (exceptions.Forbidden, exceptions.Unauthorized) as error:
        raise InputError(f"{what}: no permission: {error.message}") from None
    except (exceptions.Cancelled, exceptions.Aborted) as error:  # subclasses of ClientError, yet no refusal
        raise Failure(f"{what}: {error.message}") from None
    except exceptions.ClientError as error:
        raise InputError(f"{what} was refused: {error.message}") from None
    except exceptions.RetryError as error:
        raise Failure(f"{what}: no answer for {PATIENCE:.0f} s: {_first_line(error.cause)}") from None
    except (exceptions.GoogleAPICallError, auth.TransportError, http.RequestException, ConnectionError) as error:
        raise Failure(f"{what}: no answer: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
