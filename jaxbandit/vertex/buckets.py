"""Objects in Cloud Storage through Google's client. It knows no jobs."""

from typing import Any

from jaxbandit import reporting
from jaxbandit._core.errors import InputError
from jaxbandit.vertex.answers import ANSWER, PATIENCE, from_sdk, translated


class Buckets:
    """The buckets that one may use, seen from a project and a region."""

    def __init__(self, project: str | None, region: str = "") -> None:
        """Make the client; objects need no project.

        Raises:
            InputError: the SDK or credentials are missing.
        """
        self.region = region
        with from_sdk():
            from google.cloud import storage
        with translated("credentials"):
            self._storage = storage.Client(project=project)
        self._files: dict[str, Any] = {"retry": storage.retry.DEFAULT_RETRY.with_timeout(PATIENCE)}

    def check_bucket(self, uri: str) -> None:
        """Raise InputError unless the bucket exists and lies in the region alone."""
        from google.api_core import exceptions

        with translated(f"bucket {uri}"):
            name = uri.removeprefix("gs://").partition("/")[0]
            try:
                bucket = self._storage.get_bucket(name, **self._files)
            except exceptions.NotFound:
                raise InputError(f"bucket is {uri!r}, which does not exist; allowed: one in {self.region}") from None
            except exceptions.Forbidden:  # who may write objects need not be allowed to see where they lie
                reporting.say(f"warning: {uri} may lie outside of {self.region}: no storage.buckets.get to find out")
                return
        if bucket.location.lower() != self.region:
            raise InputError(f"bucket is {uri!r}, which lies in {bucket.location}; allowed: one in {self.region}")

    def permissions(self, uri: str, wanted: list[str]) -> list[str]:
        """Which of these permissions the caller has on a bucket."""
        with translated(uri):
            bucket = self._storage.bucket(uri.removeprefix("gs://").partition("/")[0])
            return list(bucket.test_iam_permissions(wanted, timeout=ANSWER))

    def claim(self, uri: str, content: bytes) -> bool:
        """Put an object into the bucket unless there is one; return whether this has happened."""
        from google.api_core import exceptions

        with translated(uri):
            try:
                self._blob(uri).upload_from_string(content, if_generation_match=0, **self._files)
            except exceptions.PreconditionFailed:
                return False
        return True

    def write(self, uri: str, content: bytes) -> None:
        """Put an object into the bucket, over what was there."""
        with translated(uri):
            self._blob(uri).upload_from_string(content, **self._files)

    def delete(self, uri: str) -> None:
        """Remove an object from the bucket."""
        with translated(uri):
            self._blob(uri).delete(**self._files)

    def files(self, uri: str) -> dict[str, str]:
        """Objects below a gs:// directory, by their paths within it."""
        with translated(uri):
            bucket, _, prefix = uri.removeprefix("gs://").partition("/")
            prefix = prefix.rstrip("/") + "/"
            blobs = self._storage.list_blobs(bucket, prefix=prefix, **self._files)
            names = [blob.name.removeprefix(prefix) for blob in blobs]
            return {name: f"gs://{bucket}/{prefix}{name}" for name in names if name and not name.endswith("/")}

    def read(self, uri: str) -> bytes:
        """Read an object of the bucket."""
        with translated(uri):
            return self._blob(uri).download_as_bytes(**self._files)

    def _blob(self, uri: str) -> Any:
        bucket, _, name = uri.removeprefix("gs://").partition("/")
        return self._storage.bucket(bucket).blob(name)
