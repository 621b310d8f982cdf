# SPDX-License-Identifier: Apache-2.0
"""A file tree as comparable values, and readable differences between two trees."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path

from tarball import NANOSECOND

READ_SIZE = 1 << 20

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


@dataclass(frozen=True)
class Record:
    """All that can be seen of one path, but for inode and device numbers.

    `nlink` and `size` are None for directories: each file system has its own idea of them.
    `same_inode_as` is the first path (in byte order) that names the same inode.
    """

    kind: str
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    nlink: int | None
    size: int | None
    rdev: tuple[int, int] | None
    same_inode_as: bytes
    target: bytes | None
    xattrs: tuple[tuple[str, bytes], ...]
    digest: str | None


Tree = dict[bytes, Record]


def read(root: Path) -> Tree:
    """Every path below `root`, by its path relative to it; the root itself is `.`."""
    first_names: dict[int, bytes] = {}
    return {path: _record(full, path, first_names) for path, full in _walk(os.fsencode(root))}


def _walk(root: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(relative path, full path) in byte order of the relative paths, which sets link names."""
    found = [(b".", root)]
    pending = [(b"", root)]
    while pending:
        prefix, directory = pending.pop()
        with os.scandir(directory) as entries:
            for entry in entries:
                found.append((prefix + entry.name, entry.path))
                if entry.is_dir(follow_symlinks=False):
                    pending.append((prefix + entry.name + b"/", entry.path))
    yield from sorted(found)


def _record(full: bytes, path: bytes, first_names: dict[int, bytes]) -> Record:
    status = os.lstat(full)
    kind = KINDS[stat.S_IFMT(status.st_mode)]
    is_directory = kind == "directory"
    has_device = kind in ("character device", "block device")
    names = os.listxattr(full, follow_symlinks=False)
    return Record(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        nlink=None if is_directory else status.st_nlink,
        size=None if is_directory else status.st_size,
        rdev=(os.major(status.st_rdev), os.minor(status.st_rdev)) if has_device else None,
        same_inode_as=first_names.setdefault(status.st_ino, path),
        target=os.readlink(full) if kind == "symlink" else None,
        xattrs=tuple(
            (name, os.getxattr(full, name, follow_symlinks=False)) for name in sorted(names)
        ),
        digest=file_digest(full) if kind == "file" else None,
    )


def file_digest(path: bytes | Path) -> str:
    """SHA-256 of a file's content, as it comes from read(2)."""
    digest = hashlib.sha256()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(READ_SIZE):
            digest.update(block)
    return digest.hexdigest()


def without_directory_times(tree: Tree) -> Tree:
    """A tree to compare where not every directory has a time of its own."""
    return {
        path: replace(record, mtime_ns=0) if record.kind == "directory" else record
        for path, record in tree.items()
    }


def whole_seconds(tree: Tree) -> Tree:
    """A tree as a tool leaves it that drops fractions of a second, as nydus does."""
    return {
        path: replace(record, mtime_ns=record.mtime_ns // NANOSECOND * NANOSECOND)
        for path, record in tree.items()
    }


def contents(tree: Tree) -> dict[bytes, tuple[str, bytes | None, str | None]]:
    """Only what an extraction without metadata keeps: types, link targets, bytes."""
    return {path: (record.kind, record.target, record.digest) for path, record in tree.items()}


def differences(expected: Tree, actual: Tree, limit: int = 40) -> list[str]:
    """One line for each path or attribute that differs, the first `limit` of them."""
    lines = []
    for path in sorted(expected.keys() | actual.keys()):
        if path not in actual:
            lines.append(f"{_shown(path)}: missing ({expected[path].kind})")
        elif path not in expected:
            lines.append(f"{_shown(path)}: unexpected ({actual[path].kind})")
        else:
            lines += _attribute_differences(path, expected[path], actual[path])
    if len(lines) > limit:
        lines[limit:] = [f"... and {len(lines) - limit} more"]
    return lines


def _attribute_differences(path: bytes, expected: Record, actual: Record) -> Iterator[str]:
    for attribute in fields(Record):
        wanted, found = (getattr(record, attribute.name) for record in (expected, actual))
        if wanted != found:
            if attribute.name == "mode":
                wanted, found = oct(wanted), oct(found)
            yield f"{_shown(path)}: {attribute.name} is {found!r}, expected {wanted!r}"


def _shown(path: bytes) -> str:
    """A path on one line of bearable length."""
    text = path.decode("utf-8", "backslashreplace")
    text = "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
    return text if len(text) <= 120 else f"{text[:60]}[...]{text[-55:]}"


def assert_same(expected: Tree, actual: Tree) -> None:
    """Fails with the list of differences."""
    __tracebackhide__ = True
    lines = differences(expected, actual)
    assert not lines, "\n".join(["the trees differ:", *lines])
