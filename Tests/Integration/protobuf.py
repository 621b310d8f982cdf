# SPDX-License-Identifier: Apache-2.0
"""Protocol buffers without generated code: fields by their numbers.

A message is a dictionary from field number to a value: an integer, text, bytes, a message, or a
list of these for a repeated field. A map field is a list of messages `{1: key, 2: value}`.
"""

from __future__ import annotations

from collections.abc import Iterator

Value = "int | str | bytes | Message | list[Value]"
Message = "dict[int, Value]"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def encode(message: Message) -> bytes:
    """The message as it goes over the wire."""
    return b"".join(_field(number, value) for number, value in message.items())


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, list):
        return b"".join(_field(number, item) for item in value)
    if isinstance(value, int):
        # Negative numbers have ten bytes, as for an int64.
        return _varint(number << 3 | _VARINT) + _varint(value & (1 << 64) - 1)
    if isinstance(value, dict):
        value = encode(value)
    elif isinstance(value, str):
        value = value.encode()
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Fields:
    """A message that has come: what is in it is looked up by number."""

    def __init__(self, encoded: bytes) -> None:
        self._values: dict[int, list[int | bytes]] = {}
        for number, value in _decode(encoded):
            self._values.setdefault(number, []).append(value)

    def number(self, field: int) -> int:
        """An integer or an enumeration; 0 if it is not there."""
        return self._values.get(field, [0])[-1]

    def text(self, field: int) -> str:
        """Text; empty if it is not there."""
        return self._values.get(field, [b""])[-1].decode()

    def message(self, field: int) -> Fields:
        """A message; an empty one if it is not there."""
        return Fields(self._values.get(field, [b""])[-1])

    def messages(self, field: int) -> list[Fields]:
        """All messages of a repeated field."""
        return [Fields(value) for value in self._values.get(field, [])]

    def texts(self, field: int) -> list[str]:
        """All of a repeated field."""
        return [value.decode() for value in self._values.get(field, [])]

    def map(self, field: int) -> dict[str, str]:
        """A map from text to text."""
        return {entry.text(1): entry.text(2) for entry in self.messages(field)}


def _decode(encoded: bytes) -> Iterator[tuple[int, int | bytes]]:
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = encoded[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while position < len(encoded):
        key = varint()
        kind = key & 7
        if kind == _VARINT:
            yield key >> 3, varint()
            continue
        sizes = {_FIXED64: lambda: 8, _FIXED32: lambda: 4, _BYTES: varint}
        size = sizes[kind]()
        yield key >> 3, encoded[position : position + size]
        position += size
