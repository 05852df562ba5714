"""TensorBoard's event files: records with checksums, each an `Event` in the wire format of protocol buffers.

Only the few fields that learning curves need; it decides neither when nor where. tensorboardX writes the same, but its
import takes longer than the first chunk of a run. Formats: https://www.tensorflow.org/tutorials/load_data/tfrecord and
https://github.com/tensorflow/tensorboard/blob/master/tensorboard/compat/proto/event.proto.
"""

import struct
from collections.abc import Mapping

DOUBLE, VARINT, BYTES, FLOAT = 1, 0, 2, 5  # types of fields
STARTED = 1  # SessionLog.START: "forget all steps >= this one that you have read"


def version(seconds: float) -> bytes:
    """Record with which every file begins."""
    return record(_double(1, seconds) + _bytes(3, b"brain.Event:2"))


def restart(seconds: float) -> bytes:
    """Record that makes an open TensorBoard forget all points that it has read."""
    return record(_double(1, seconds) + _bytes(7, _integer(1, STARTED)))


def scalars(seconds: float, step: int, values: Mapping[str, float]) -> bytes:
    """Record of the values of a step."""
    summary = b"".join(_bytes(1, _bytes(1, tag.encode()) + _float(2, value)) for tag, value in values.items())
    return record(_double(1, seconds) + _integer(2, step) + _bytes(5, summary))


def record(data: bytes) -> bytes:
    """Frame a message: its length, a checksum of that, the message, its checksum."""
    length = struct.pack("<Q", len(data))
    return length + _checksum(length) + data + _checksum(data)


def _checksum(data: bytes) -> bytes:
    """CRC-32C, turned and shifted as the format of records wants it."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_TABLE = [_remainder(byte) for byte in range(256)]


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def _tag(field: int, kind: int) -> bytes:
    return _varint(field << 3 | kind)


def _integer(field: int, value: int) -> bytes:
    return _tag(field, VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _tag(field, DOUBLE) + struct.pack("<d", value)


def _float(field: int, value: float) -> bytes:
    return _tag(field, FLOAT) + struct.pack("<f", value)


def _bytes(field: int, value: bytes) -> bytes:
    return _tag(field, BYTES) + _varint(len(value)) + value
