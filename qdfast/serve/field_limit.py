"""Limits the number of fields of a serialized message, before memory is taken for them.

A string of two bytes, tag and length, becomes an object of 16 bytes or more, and an empty message one of 40: without a
limit, a request of the permitted size would take gigabytes and seconds to parse.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.message import DecodeError

from ..protocol.tensors import varint

MAX_FIELDS = 1 << 16
"""Maximum number of fields of one message, not counting those of the messages in it. Packed numbers are one field."""

MAX_ALL_FIELDS = 1 << 17
"""Maximum number of fields of a request, counting those of all messages in it."""

SMALL = 1 << 18
"""Bytes up to which nothing is counted: even if all are fields, parsing them takes milliseconds."""

_MAX_DEPTH = 100  # as in protobuf's parsers
_VARINT, _I64, _LEN, _I32 = 0, 1, 2, 5


def cut_fields(data: bytes, descriptor: Any) -> bytes | None:
    """Leave out the fields beyond the limits.

    Args:
        data: a serialized message.
        descriptor: of its type.

    Returns:
        The message without them; None if there are none.

    Raises:
        DecodeError: this is not a serialized message.
    """
    if len(data) <= SMALL:
        return None
    try:
        return _Cut(data).message(0, len(data), descriptor, _MAX_DEPTH)
    except IndexError:
        raise DecodeError("a field ends behind the message") from None


class _Cut:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = MAX_ALL_FIELDS

    def message(self, start: int, end: int, descriptor: Any, depth: int) -> bytes | None:
        """The message from ``start`` to ``end`` without the fields beyond the limits; None if there are none."""
        if not depth:
            raise DecodeError("messages are nested too deeply")
        data, fields = self._data, descriptor.fields_by_number
        parts: list[bytes] = []  # what is left of the message before `copied`
        copied = start
        left, at = MAX_FIELDS, start
        while at < end:
            if not left or not self._left:
                return b"".join([*parts, data[copied:at]])
            left -= 1
            self._left -= 1
            field_start = at
            tag, at = self._varint(at)
            wire_type = tag & 7
            if wire_type == _VARINT:
                _, at = self._varint(at)
            elif wire_type == _LEN:
                size, at = self._varint(at)
                if at + size > end:
                    raise DecodeError("a field ends behind its message")
                inner_type = getattr(fields.get(tag >> 3), "message_type", None)
                inner = self.message(at, at + size, inner_type, depth - 1) if inner_type else None
                at += size
                if inner is not None:
                    parts += [data[copied:field_start], varint(tag), varint(len(inner)), inner]
                    copied = at
            elif wire_type in (_I64, _I32):
                at += 8 if wire_type == _I64 else 4
        return b"".join([*parts, data[copied:end]]) if parts else None

    def _varint(self, at: int) -> tuple[int, int]:
        """The number at ``at``, and where it ends."""
        value = shift = 0
        while True:
            byte = self._data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
            shift += 7
            if shift > 63:
                raise DecodeError("a number of more than 10 bytes")
