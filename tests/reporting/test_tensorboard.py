import os
import struct
import time

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from jaxbandit._core.errors import InputError
from jaxbandit.reporting import EventLog, event_file


def read_events(path):
    """Parse TFRecords: length, its checksum, the event, its checksum."""
    data, events = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        events.append(Event.FromString(data[12 : 12 + length]))
        data = data[16 + length :]
    return events


def scalars(folder):
    """All (step, tag, value) of all event files, in the order in which TensorBoard reads them."""
    events = [event for path in sorted(folder.glob("*tfevents*")) for event in read_events(path)]
    return [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]


def of_tag(folder, tag):
    return [(step, value) for step, name, value in scalars(folder) if name == tag]


def test_rows_are_written_as_they_finish_and_once(tmp_path, make_curves):
    with EventLog(tmp_path) as log:
        log.append(make_curves(rows=1))
        assert of_tag(tmp_path, "metrics/regret") == [(12, 1.5)]  # before the file is closed
        log.append(make_curves(rows=3))
        log.append(make_curves(rows=3))
    assert of_tag(tmp_path, "metrics/regret") == [(12, 1.5), (18, 1.0), (20, 0.5)]
    assert of_tag(tmp_path, "metrics/cumulative_regret") == [(12, 18), (18, 24), (20, 25)]
    assert {tag for _, tag, _ in scalars(tmp_path)} >= {
        f"metrics/{name}" for name in ("average_return", "regret", "suboptimal_arms", "uniform", "optimal")
    }
    assert len(scalars(tmp_path)) == 3 * 9


def test_a_resumed_run_has_no_row_twice_even_where_the_killed_one_got_further(tmp_path, make_curves):
    (tmp_path / "events.out.tfevents.0.of-somebody-else").write_bytes(b"")
    killed = EventLog(tmp_path)
    killed.append(make_curves(rows=3))  # and never closed
    with EventLog(tmp_path) as resumed:
        resumed.append(make_curves(rows=1))
        resumed.append(make_curves(rows=2))
    assert of_tag(tmp_path, "metrics/regret") == [(12, 1.5), (18, 1.0)]
    assert len(list(tmp_path.glob("*.jaxbandit"))) == 1
    assert len(list(tmp_path.iterdir())) == 2
    killed.close()


def test_the_file_tells_an_open_tensorboard_to_forget_older_rows(tmp_path, curves):
    with EventLog(tmp_path) as log:
        log.append(curves)
    version, start, *rows = read_events(next(tmp_path.iterdir()))
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (0, SessionLog.START)
    assert len(rows) == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_full_disk_is_bad_input_and_keeps_the_earlier_events(tmp_path, make_curves, monkeypatch):
    with EventLog(tmp_path) as log:
        log.append(make_curves())
    before = sorted(tmp_path.iterdir())
    monkeypatch.setattr(time, "time_ns", lambda: 7)
    (tmp_path / "events.out.tfevents.7.jaxbandit").symlink_to("/dev/full")
    with EventLog(tmp_path) as log, pytest.raises(InputError, match=r"cannot write '.*': No space left on device"):
        log.append(make_curves())
    assert sorted(tmp_path.iterdir()) == before
    assert of_tag(tmp_path, "metrics/regret") == [(12, 1.5), (18, 1.0), (20, 0.5)]


def test_a_log_without_rows_makes_no_file(tmp_path):
    with EventLog(tmp_path / "tensorboard"):
        pass
    assert not (tmp_path / "tensorboard").exists()


def test_records_are_those_of_tensorboardx_byte_for_byte(tmp_path):
    path, seconds, values = tmp_path / "events", 1_700_000_000.25, {"metrics/regret": 0.1, "größe": float("nan")}
    file = RecordWriter(str(path))
    for event in (
        Event(wall_time=seconds, file_version="brain.Event:2"),
        Event(wall_time=seconds, session_log=SessionLog(status=SessionLog.START)),
        Event(
            wall_time=seconds,
            step=2**40 + 300,
            summary=Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]),
        ),
    ):
        file.write(event.SerializeToString())
    file.close()
    parts = event_file.version(seconds), event_file.restart(seconds), event_file.scalars(seconds, 2**40 + 300, values)
    assert b"".join(parts) == path.read_bytes()
