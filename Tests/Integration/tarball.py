# SPDX-License-Identifier: Apache-2.0
"""Tar entries written by hand, byte by byte.

Python's tarfile cannot write what the tests need to feed to a converter: binary extended
attributes, one entry in PAX and the next in GNU dialect, base-256 numbers that would also fit in
octal, names that are no UTF-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

BLOCK = 512
NANOSECOND = 10**9


class Kind(Enum):
    """A file type, with the typeflag tar gives it."""

    REGULAR = b"0"
    HARD_LINK = b"1"
    SYMLINK = b"2"
    CHARACTER_DEVICE = b"3"
    BLOCK_DEVICE = b"4"
    DIRECTORY = b"5"
    FIFO = b"6"


class Dialect(Enum):
    """How an entry says what the ustar header has no room for."""

    USTAR = "ustar"
    PAX = "pax"
    GNU = "gnu"


@dataclass(frozen=True)
class Entry:
    """One tar entry. `path` is written as it stands, so `./` and a trailing `/` are kept."""

    path: bytes
    kind: Kind = Kind.REGULAR
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    content: bytes = b""
    target: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    dialect: Dialect = Dialect.PAX

    def encode(self) -> bytes:
        """The entry as bytes: extension headers, header, content, padding."""
        writers = {Dialect.USTAR: _ustar, Dialect.PAX: _pax, Dialect.GNU: _gnu}
        return writers[self.dialect](self) + _padded(self.content)


def archive(entries: Iterable[Entry]) -> bytes:
    """A whole tar archive, closed by the two zero blocks."""
    return b"".join(entry.encode() for entry in entries) + bytes(2 * BLOCK)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def _octal(value: int, width: int) -> bytes:
    text = b"%0*o" % (width - 1, value)
    if value < 0 or len(text) >= width:
        raise ValueError(f"{value} does not fit in {width - 1} octal digits")
    return text + b"\0"


def _base256(value: int, width: int) -> bytes:
    """GNU's binary numbers: the top bit marks them, the rest is two's complement."""
    number = value.to_bytes(width, "big", signed=True)
    return bytes([number[0] | 0x80]) + number[1:]


def _fits_octal(value: int, width: int) -> bool:
    return 0 <= value < 8 ** (width - 1)


def _header(
    entry: Entry,
    *,
    name: bytes,
    typeflag: bytes,
    target: bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    number=_octal,
    size: int | None = None,
    uid: int | None = None,
    gid: int | None = None,
    seconds: int | None = None,
) -> bytes:
    """One 512-byte header block. `number` writes the fields that may be out of octal's reach."""
    fields = [
        name.ljust(100, b"\0"),
        _octal(entry.mode, 8),
        number(entry.uid if uid is None else uid, 8),
        number(entry.gid if gid is None else gid, 8),
        number(len(entry.content) if size is None else size, 12),
        number(entry.mtime_ns // NANOSECOND if seconds is None else seconds, 12),
        b" " * 8,
        typeflag,
        target.ljust(100, b"\0"),
        magic,
        bytes(32),
        bytes(32),
        _octal(entry.device[0], 8),
        _octal(entry.device[1], 8),
        prefix.ljust(155, b"\0"),
        bytes(12),
    ]
    block = b"".join(fields)
    if len(block) != BLOCK:
        raise ValueError(f"{entry.path!r} has a field that is too long for a tar header")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _ustar(entry: Entry) -> bytes:
    """Plain ustar: a long path is split between name and prefix; nothing else is stretched."""
    if entry.xattrs or entry.mtime_ns % NANOSECOND:
        raise ValueError(f"{entry.path!r}: ustar has neither xattrs nor fractions of a second")
    name, prefix = entry.path, b""
    if len(name) > 100:
        cut = entry.path.index(b"/", len(entry.path) - 101)
        prefix, name = entry.path[:cut], entry.path[cut + 1 :]
    return _header(
        entry, name=name, prefix=prefix, typeflag=entry.kind.value, target=entry.target
    )


def _pax(entry: Entry) -> bytes:
    """POSIX 2001: what does not fit, and every xattr, is a record of an `x` header."""
    records: list[tuple[bytes, bytes]] = []
    name, target = entry.path, entry.target
    if len(name) > 100 or not name.isascii():
        records.append((b"path", name))
        name = name[:100]
    if len(target) > 100 or not target.isascii():
        records.append((b"linkpath", target))
        target = target[:100]
    numbers: dict[str, int] = {}
    for key, value, width in (
        ("uid", entry.uid, 8),
        ("gid", entry.gid, 8),
        ("size", len(entry.content), 12),
    ):
        if not _fits_octal(value, width):
            records.append((key.encode(), b"%d" % value))
            numbers[key] = 0
    seconds, fraction = divmod(entry.mtime_ns, NANOSECOND)
    if fraction or not _fits_octal(seconds, 12):
        records.append((b"mtime", _decimal_seconds(entry.mtime_ns)))
        numbers["seconds"] = 0
    records += [
        (b"SCHILY.xattr." + key.encode("utf-8", "surrogateescape"), value)
        for key, value in entry.xattrs.items()
    ]
    header = _header(entry, name=name, typeflag=entry.kind.value, target=target, **numbers)
    if not records:
        return header
    body = b"".join(_pax_record(key, value) for key, value in records)
    extension = _header(
        entry, name=b"././@PaxHeader", typeflag=b"x", size=len(body), uid=0, gid=0, seconds=0
    )
    return extension + _padded(body) + header


def _decimal_seconds(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, fraction = divmod(abs(nanoseconds), NANOSECOND)
    return (sign + b"%d.%09d" % (seconds, fraction)).rstrip(b"0").rstrip(b".")


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`LENGTH key=value\\n`, where LENGTH counts its own digits too."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _gnu(entry: Entry) -> bytes:
    """GNU tar: `L` and `K` entries for long names, base-256 for large and negative numbers."""
    if entry.xattrs or entry.mtime_ns % NANOSECOND:
        raise ValueError(f"{entry.path!r}: GNU headers have neither xattrs nor fractions")

    def number(value: int, width: int) -> bytes:
        # Files are numbered in base-256 even where octal would do: readers must take both.
        if entry.kind is Kind.REGULAR or not _fits_octal(value, width):
            return _base256(value, width)
        return _octal(value, width)

    magic = b"ustar  \0"
    long_names = b""
    for typeflag, text in ((b"K", entry.target), (b"L", entry.path)):
        if len(text) > 100:
            body = text + b"\0"
            long_names += _header(
                entry,
                name=b"././@LongLink",
                typeflag=typeflag,
                magic=magic,
                size=len(body),
                uid=0,
                gid=0,
                seconds=0,
            ) + _padded(body)
    return long_names + _header(
        entry,
        name=entry.path[:100],
        typeflag=entry.kind.value,
        target=entry.target[:100],
        magic=magic,
        number=number,
    )
