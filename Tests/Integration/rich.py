# SPDX-License-Identifier: Apache-2.0
"""Layers with all that tar can hold, to be laid over a real image; one peculiarity a name."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from layers import (
    ACCESS_ACL,
    ACCESS_ACL_MODE,
    CAP_NET_RAW,
    DEFAULT_ACL,
    OPAQUE_MARKER,
    capability,
)
from scenarios import NOON, directory, file, hard_link, symlink
from tarball import BLOCK, NANOSECOND, Dialect, Entry, Kind

SPARSE_FORMATS = {
    "0.0": "--format=posix --sparse-version=0.0",
    "0.1": "--format=posix --sparse-version=0.1",
    "1.0": "--format=posix --sparse-version=1.0",
    "gnu": "--format=gnu",
    "oldgnu": "--format=oldgnu",
}


@dataclass(frozen=True)
class RichLayer:
    """A layer, and the same tree in a tar that umoci takes."""

    tar: bytes
    twin: bytes


def rich_layers(work: Path) -> list[RichLayer]:
    """The layers, lowest first; `work` is an empty directory for files to archive."""
    return [_layer(_kinds()), _sparse(work), _layer(_over())]


def _layer(parts: Iterable[Entry | bytes]) -> RichLayer:
    """umoci refuses global headers, so its twin has none."""
    encoded = [part if isinstance(part, bytes) else part.encode() for part in parts]
    tar, twin = (
        b"".join(entries) + bytes(2 * BLOCK)
        for entries in (encoded, [entry for entry in encoded if entry[156:157] != b"g"])
    )
    return RichLayer(tar, twin)


def _kinds() -> Iterator[Entry | bytes]:
    """Everything but holes."""
    # git archive writes one, and so do others; what is in it is about no file in particular.
    yield _pax_header(b"g", b"52 comment=0123456789abcdef0123456789abcdef01234567\n")
    yield directory(b"./", mtime_ns=1)
    yield directory(b"./rich/")
    yield from _special_files()
    yield from _attributes()
    yield from _names()
    yield from _times_and_owners()
    yield from _links()
    yield _pax_header(b"g", b"18 comment=second\n")
    # No parent has an entry.
    yield file(b"./rich/orphan/a/b/file")
    yield Entry(b"rich/orphan/c/fifo", Kind.FIFO, mtime_ns=NOON)
    # The later entry counts, whatever both are; children of a directory that comes again stay.
    yield file(b"rich/twice", b"first")
    yield directory(b"rich/was-file", mode=0o700)
    yield symlink(b"rich/twice", b"second")
    yield file(b"rich/again/child")
    yield directory(b"rich/again", mode=0o711)
    yield directory(b"rich/again/", mode=0o750, xattrs={"user.last": b"yes"})
    yield replace(file(b"rich/name", b"linked"), mode=0o600)
    yield hard_link(b"rich/other-name", b"./rich/name")
    yield file(b"rich/name", b"apart")
    yield _blank_numbers(file(b"rich/blank"))


def _special_files() -> Iterator[Entry]:
    yield directory(b"rich/dev")
    for number in [(0, 1), (1, 3), (8, 255), (8, 256), (259, 70_000), (4095, 0xFFFFF)]:
        name = b"%d-%d" % number
        for kind, letter in [(Kind.CHARACTER_DEVICE, b"c"), (Kind.BLOCK_DEVICE, b"b")]:
            yield Entry(b"rich/dev/" + letter + name, kind, device=number, mtime_ns=NOON + 7)
    yield Entry(b"rich/dev/fifo", Kind.FIFO, mode=0o1600, mtime_ns=-1, xattrs={"trusted.f": b"f"})
    yield Entry(
        b"rich/dev/disk", Kind.BLOCK_DEVICE, device=(8, 1), xattrs={"security.d": b"\0", }
    )  # fmt: skip


def _attributes() -> Iterator[Entry]:
    binary = bytes(range(256))
    both = {"system.posix_acl_access": ACCESS_ACL, "system.posix_acl_default": DEFAULT_ACL}
    yield directory(b"rich/x")
    yield directory(b"rich/x/acl", mode=ACCESS_ACL_MODE, xattrs=both)
    yield file(b"rich/x/acl/heir", mode=0o640)
    for name, xattrs in {
        "capability2": {"security.capability": capability(CAP_NET_RAW)},
        "capability3": {"security.capability": capability(CAP_NET_RAW, root_id=100_000)},
        "binary": {"user.binary": binary, "trusted.binary": binary[::-1]},
        "lines": {"user.lines": b"1=2\n12 path=x\n\0\n", "user.nul": b"\0", "user.line": b"\n"},
        "key": {"user.caf\u00e9 \udcff": b"name", "user.a.b..c": b"dots"},
        "large": {"user.large": b"v" * 3000},
        "many": {f"user.{number:0100}": b"%d" % number for number in range(20)},
        "long-name": {"user." + "n" * 250: b"255 bytes"},
    }.items():
        yield file(b"rich/x/" + name.encode(), xattrs=xattrs)
    yield file(
        b"rich/x/all",
        mode=ACCESS_ACL_MODE,
        xattrs={"security.capability": capability(CAP_NET_RAW), "user.u": b"\n\0",
                "system.posix_acl_access": ACCESS_ACL, "trusted.t": b"t"},
    )  # fmt: skip
    yield replace(symlink(b"rich/x/link", b"all"), xattrs={"trusted.l": b"\n", "security.l": b"l"})


def _names() -> Iterator[Entry]:
    yield directory(b"rich/n")
    for dialect in (Dialect.PAX, Dialect.GNU):
        top = b"rich/n/" + dialect.value.encode()
        yield directory(top)
        for name in [b"\xff\xfe\x80", b"caf\xe9", "\u00fc\u0308".encode(), b"\n", b" ", b"\t\x7f",
                     b"\\x41", b"..a", b"...", b"-", b"=", b"n" * 254, b"m" * 255,
                     b"\xc3" * 255]:  # fmt: skip
            yield file(top + b"/" + name, name, dialect=dialect)
        yield replace(directory(top + b"/" + b"d" * 255), dialect=dialect)
        yield replace(symlink(top + b"/" + b"l" * 255, b"t" * 4000), dialect=dialect)
        # 1796 bytes of path, without entries for what is on the way.
        deep = top + (b"/" + b"p" * 255) * 6
        for length in (100, 155, 156, 255, 256, 257, 1100):
            path = (top + b"/%d/" % length + b"directory/" * 110)[: length - 1] + b"f"
            yield file(path, dialect=dialect)
        yield file(deep + b"/file", b"deep", dialect=dialect)
        yield replace(hard_link(deep + b"/link", deep + b"/file"), dialect=dialect)
    prefix = b"rich/n/ustar/" + b"prefix/" * 15
    yield file(prefix + b"n" * 100, dialect=Dialect.USTAR)


def _times_and_owners() -> Iterator[Entry]:
    yield directory(b"rich/t")
    for number, moment in enumerate([
        0, 1, -1, -NANOSECOND, -NANOSECOND - 1, (1 << 31) * NANOSECOND - 1, (1 << 31) * NANOSECOND,
        (1 << 32) * NANOSECOND + 1, 8_000_000_000 * NANOSECOND + 999_999_999,
    ]):  # fmt: skip
        yield file(b"rich/t/%d" % number, mtime_ns=moment)
        yield replace(symlink(b"rich/t/l%d" % number, b"x"), mtime_ns=moment)
        yield directory(b"rich/t/d%d" % number, mtime_ns=moment)
    for number in (65_535, 65_536, 2_097_152, 4_294_967_294):
        for dialect in (Dialect.PAX, Dialect.GNU):
            name = b"rich/t/" + dialect.value.encode() + b"%d" % number
            yield file(name, uid=number, gid=number, dialect=dialect)
    for mode in (0, 0o111, 0o1644, 0o2755, 0o4755, 0o7777):
        yield file(b"rich/t/mode%o" % mode, mode=mode)
        yield directory(b"rich/t/dmode%o" % mode, mode=mode)


def _links() -> Iterator[Entry]:
    yield directory(b"rich/l")
    yield directory(b"rich/l/a")
    yield file(b"rich/l/a/file", b"shared" * 50_000, xattrs={"user.s": b"shared"})
    yield hard_link(b"rich/l/b/file", b"rich/l/a/file")
    yield hard_link(b"./rich/l/file", b"./rich/l/b/file")
    yield symlink(b"rich/l/a/link", b"nowhere")
    yield hard_link(b"rich/l/b/link", b"rich/l/a/link")
    yield Entry(b"rich/l/a/null", Kind.CHARACTER_DEVICE, device=(1, 3), mtime_ns=NOON)
    yield hard_link(b"rich/l/null", b"rich/l/a/null")
    yield Entry(b"rich/l/a/fifo", Kind.FIFO, mtime_ns=NOON)
    yield hard_link(b"rich/l/fifo", b"rich/l/a/fifo")
    # Neither the link's nor the target's parents have an entry.
    yield file(b"rich/l/no/entry/target", b"target")
    yield hard_link(b"rich/l/nor/here/link", b"rich/l/no/entry/target")


def _over() -> Iterator[Entry]:
    """Taken away, made opaque, replaced, and there again: of the rich files and of Debian's."""
    # What an upper layer only goes through, it describes: umoci leaves the present time there.
    yield directory(b"rich/", mtime_ns=NOON + 1)
    yield directory(b"rich/dev/")
    yield file(b"rich/dev/.wh.c1-3", b"")
    yield file(b"rich/dev/.wh.fifo", b"")
    yield file(b"rich/dev/b1-3", b"a file where a device was")
    yield directory(b"rich/x", mode=0o700)
    yield file(b"rich/x/.wh.acl", b"")
    yield file(b"rich/x/binary", xattrs={"user.other": b"\n"})
    yield directory(b"rich/n")
    for dialect in (Dialect.PAX, Dialect.GNU):
        top = b"rich/n/" + dialect.value.encode()
        yield directory(top)
        yield replace(file(top + b"/.wh.caf\xe9", b""), dialect=dialect)
        yield replace(file(top + b"/.wh.\n", b""), dialect=dialect)
        yield file(top + b"/.wh." + b"p" * 251, b"")
        yield directory(top + b"/" + b"d" * 255)
        yield file(top + b"/" + b"d" * 255 + b"/" + OPAQUE_MARKER, b"")
        yield file(top + b"/" + b"m" * 255, b"replaced")
    yield directory(b"rich/l", mtime_ns=5)
    yield directory(b"rich/l/a", mode=0o711)
    # The marker comes after what it does not hide; the other names of what it hides stay.
    yield file(b"rich/l/a/new", b"new")
    yield file(b"rich/l/a/" + OPAQUE_MARKER, b"")
    yield file(b"rich/l/.wh.fifo", b"")
    yield file(b"rich/.wh.orphan", b"")
    yield directory(b"rich/orphan", mode=0o1777)
    yield file(b"rich/orphan/own")
    yield file(b"rich/t", b"a file where a directory was")
    yield directory(b"rich/twice")
    yield file(b"rich/twice/child")
    yield directory(b"usr/share", mtime_ns=NOON)
    yield file(b"usr/share/.wh.zoneinfo", b"")
    yield file(b"usr/share/.wh.never", b"")
    yield directory(b"opt/demo", mode=0o755, mtime_ns=NOON)
    yield file(b"opt/demo/" + OPAQUE_MARKER, b"")
    # A way through links of lower layers: Debian's /bin leads to usr/bin.
    yield file(b"bin/through-link", b"in usr/bin", mode=0o755)
    yield file(b"sbin/.wh.zic", b"")
    yield directory(b"usr/bin", mtime_ns=NOON)
    yield directory(b"usr/sbin", mtime_ns=NOON)


def _sparse(work: Path) -> RichLayer:
    """Files with holes, by GNU tar in every form; umoci gets those of GNU's own dense."""
    tars: list[bytes] = []
    twins: list[bytes] = []
    for form, options in SPARSE_FORMATS.items():
        top = work / "rich" / form
        top.mkdir(parents=True)
        _fill(top)
        for path in [*top.iterdir(), top]:
            os.utime(path, ns=(NOON, NOON + (0 if "gnu" in form else 12_345)))
        tars.append(_gnu_tar(work, form, f"--sparse {options}"))
        twins.append(_gnu_tar(work, form, options) if "gnu" in form else tars[-1])
    again = directory(b"rich", mtime_ns=NOON).encode() + bytes(2 * BLOCK)
    return RichLayer(b"".join([*tars, again]), b"".join([*twins, again]))


def _fill(top: Path) -> None:
    """Holes at the start, the end, everywhere and in between; a name that is long."""
    for name, pieces, size in [
        ("hole", [], 3_000_001),
        ("start", [(0, b"begin")], 2_000_000),
        ("end", [(1_999_997, b"end")], 2_000_000),
        ("many", [(n * 120_000, b"run %d" % n) for n in range(60)], 8_000_001),
        ("s" * 250, [(1_000_000, b"x")], 1_500_000),
        ("dense", [(0, b"dense" * 1000)], 5000),
    ]:
        with open(top / name, "wb") as sparse:
            for offset, data in pieces:
                sparse.seek(offset)
                sparse.write(data)
            sparse.truncate(size)
    (top / "link").hardlink_to(top / "many")


def _gnu_tar(work: Path, form: str, options: str) -> bytes:
    """The entries of an archive without its end."""
    tar = subprocess.run(
        ["tar", "-cf", "-", *options.split(), "--numeric-owner", "--sort=name",
         "-C", work, f"rich/{form}"],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        archive.getmembers()
        return tar[: archive.offset]


def _pax_header(typeflag: bytes, body: bytes) -> bytes:
    header = bytearray(Entry(b"pax_header", mode=0o666).encode())
    header[124:136] = b"%011o\0" % len(body)
    header[156:157] = typeflag
    return _with_checksum(header) + body + bytes(-len(body) % BLOCK)


def _blank_numbers(entry: Entry) -> bytes:
    """The entry with nothing in the fields for mode, owners, time and device."""
    encoded = entry.encode()
    header = bytearray(encoded[:BLOCK])
    for start, end in [(100, 108), (108, 116), (116, 124), (136, 148), (329, 337), (337, 345)]:
        header[start:end] = b" " * 7 + b"\0" if start == 108 else bytes(end - start)
    return _with_checksum(header) + encoded[BLOCK:]


def _with_checksum(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header[:BLOCK])
    return bytes(header)


def directory_times(tars: list[bytes]) -> dict[bytes, int]:
    """The mtime of every directory that an entry describes, by its path: the last one counts."""
    times = {}
    for tar in tars:
        with tarfile.open(fileobj=io.BytesIO(tar), mode="r:", errors="surrogateescape") as archive:
            for entry in archive:
                if entry.isdir():
                    path = os.fsencode(entry.name).strip(b"/").removeprefix(b"./") or b"."
                    seconds = Decimal(entry.pax_headers.get("mtime", int(entry.mtime)))
                    times[path] = int(seconds * NANOSECOND)
    return times
