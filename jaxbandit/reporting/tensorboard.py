"""Learning curves -> TensorBoard events: mean over seeds, a step per row. Starts no thread and reads no event back."""

import contextlib
import os
import time
from types import TracebackType
from typing import Any

from etils import epath

from jaxbandit.metrics import Curves
from jaxbandit.reporting.files import writing
from jaxbandit.reporting.named_series import series

SUFFIX = ".jaxbandit"  # marks the event files that are ours to replace


class EventLog:
    """Scalars of one run in one event file, in a directory that this object alone writes scalars to.

    A new log writes the whole history anew and then deletes the file of an earlier, interrupted process, so that no row
    appears twice, also where that process got further than its last checkpoint. A TensorBoard that is already open is
    told to forget the old rows. The file is opened by the first `append`.
    """

    def __init__(self, directory: epath.PathLike) -> None:
        self._directory = epath.Path(directory)
        self._file: Any = None
        self._rows = 0

    def __enter__(self) -> "EventLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def append(self, curves: Curves) -> None:
        """Write the rows that are not in the file yet; `curves` holds all rows since round 0. On disk when it returns.

        Raises:
            InputError: the directory cannot be written.
        """
        with writing(self._directory):
            earlier = self._open() if self._file is None else []
            try:
                self._write_rows(curves)
                self._file.flush()
            except OSError:
                path = epath.Path(self._file.path)
                self.close()
                if earlier:  # half a history must not stand beside a whole one
                    path.unlink(missing_ok=True)
                raise
            for path in earlier:
                path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file. Every row is on disk already."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # what could not be written has been reported by `append`
                self._file.close()
            self._file, self._rows = None, 0

    def _open(self) -> list[epath.Path]:
        from tensorboardX import RecordWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        self._directory.mkdir(parents=True, exist_ok=True)
        earlier = list(self._directory.glob(f"*.tfevents.*{SUFFIX}"))
        # TensorBoard reads files in the order of their names, so a later one must sort behind.
        name = f"events.out.tfevents.{time.time_ns()}{SUFFIX}"
        # tensorboardX writes gs:// itself, given a plain string
        self._file = RecordWriter(os.fspath(self._directory / name))
        now = time.time()
        self._file.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
        start = SessionLog(status=SessionLog.START)  # "forget all steps >= 0 that you have read"
        self._file.write(Event(wall_time=now, step=0, session_log=start).SerializeToString())
        return earlier

    def _write_rows(self, curves: Curves) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        means = {f"metrics/{name}": values.mean(axis=1) for name, values in series(curves).items()}
        now = time.time()
        for row in range(self._rows, len(curves.interactions)):
            values = [Summary.Value(tag=tag, simple_value=mean[row]) for tag, mean in means.items()]
            event = Event(wall_time=now, step=int(curves.interactions[row]), summary=Summary(value=values))
            self._file.write(event.SerializeToString())
        self._rows = len(curves.interactions)
