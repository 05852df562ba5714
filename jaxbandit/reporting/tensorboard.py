"""Learning curves -> TensorBoard events: means over seeds, a step per point. Starts no thread, reads no event back."""

import contextlib
import math
import os
import time
from types import TracebackType
from typing import IO

from etils import epath

from jaxbandit._core.files import in_bucket, writing
from jaxbandit.reporting import event_file
from jaxbandit.reporting.series import named_curves
from jaxbandit.simulation.metrics import Curves

SUFFIX = ".jaxbandit"  # of the event files that a new log replaces
SECONDS = 30.0  # between two uploads of an event file to a bucket


class EventLog:
    """Scalars of one run in one event file, in a directory that this object alone writes scalars to.

    A new log writes the whole history again and then deletes the file of an earlier, interrupted process, which may
    have got further than its last checkpoint: so no point appears twice. The new file begins with an event that makes
    an open TensorBoard drop the old points. The first `append` opens the file.

    In a bucket, or under its mount, a file appears when it is closed, as a whole. There the file is uploaded by the
    first `append`, then every half a minute, and at the end.
    """

    def __init__(self, directory: epath.PathLike) -> None:
        self._directory = epath.Path(directory)
        self._upload_every = SECONDS if in_bucket(os.fspath(self._directory)) else None
        self._path = self._directory
        self._file: IO[bytes] | _Object | None = None
        self._points = 0  # that are in the file
        self._flushed_at = -math.inf

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._file is not None:
                with writing(self._directory):
                    self._file.flush()
        finally:
            self.close()

    def append(self, curves: Curves) -> None:
        """Write the points that are not in the file yet; `curves` holds all points since round 0.

        They are on disk when it returns; in a bucket they follow within half a minute.

        Raises:
            InputError: the directory cannot be written.
        """
        with writing(self._directory):
            earlier = self._open() if self._file is None else []
            assert self._file is not None
            try:
                self._write_points(curves)
                now = time.monotonic()
                if self._upload_every is None or now - self._flushed_at >= self._upload_every:
                    self._file.flush()
                    self._flushed_at = now
            except OSError:
                self.close()
                if earlier:  # half a history must not stand beside a whole one
                    self._path.unlink(missing_ok=True)
                raise
            for path in earlier:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file; in a bucket this uploads its last points."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written has been reported by `append`
                self._file.close()
            self._file, self._points, self._flushed_at = None, 0, -math.inf

    def _open(self) -> list[epath.Path]:
        self._directory.mkdir(parents=True, exist_ok=True)
        earlier = list(self._directory.glob(f"*.tfevents.*{SUFFIX}"))
        # TensorBoard reads files in the order of their names, so the name of a later one must sort after.
        self._path = self._directory / f"events.out.tfevents.{time.time_ns()}{SUFFIX}"
        self._file = self._path.open("wb") if self._upload_every is None else _Object(self._path)
        now = time.time()
        self._file.write(event_file.version(now) + event_file.restart(now))
        return earlier

    def _write_points(self, curves: Curves) -> None:
        assert self._file is not None
        means = {f"metrics/{name}": values.mean(axis=1) for name, values in named_curves(curves).items()}
        now = time.time()
        for point in range(self._points, len(curves.interactions)):
            values = {tag: float(mean[point]) for tag, mean in means.items()}
            self._file.write(event_file.scalars(now, int(curves.interactions[point]), values))
        self._points = len(curves.interactions)


class _Object:
    """A file of a bucket: kept in memory, and put there as a whole."""

    def __init__(self, path: epath.Path) -> None:
        self._path, self._parts, self._is_new = path, bytearray(), True

    def write(self, data: bytes) -> None:
        self._parts += data
        self._is_new = True

    def flush(self) -> None:
        if self._is_new:
            self._path.write_bytes(bytes(self._parts))
            self._is_new = False

    def close(self) -> None:
        self.flush()
