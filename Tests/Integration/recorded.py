# SPDX-License-Identifier: Apache-2.0
"""The trees that lie beside the foreign images: what must be found in them, to the letter."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import tree
from tarball import NANOSECOND

KINDS = {"-": "file", "d": "directory", "l": "symlink", "c": "character device",
         "b": "block device"}  # fmt: skip

# As many digits of a content's digest as are recorded.
DIGEST_DIGITS = 16


def foreign_tree(fixtures: Path) -> tree.Tree:
    """What every tag of `foreign/` holds: see the fixtures' README for the fields."""
    text = (fixtures / "expected" / "foreign.tree.jsonl").read_text()
    return dict(_record(json.loads(line)) for line in text.splitlines())


def _record(line: dict) -> tuple[bytes, tree.Record]:
    path = _path(line["p"])
    return path, tree.Record(
        kind=KINDS[line["t"]],
        mode=int(line["mode"], 8),
        uid=line["u"],
        gid=line["g"],
        mtime_ns=line.get("mt", 0) * NANOSECOND,
        nlink=line.get("nl"),
        size=line.get("sz"),
        rdev=tuple(line["dev"]) if "dev" in line else None,
        same_inode_as=_path(line["same_inode_as"]) if "same_inode_as" in line else path,
        target=_bytes(line["l"]) if "l" in line else None,
        xattrs=tuple(
            (name, bytes.fromhex(value)) for name, value in sorted(line.get("x", {}).items())
        ),
        digest=line.get("h"),
    )


def _path(text: str) -> bytes:
    return _bytes(text).lstrip(b"/") or b"."


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def as_recorded(found: tree.Tree) -> tree.Tree:
    """A tree with as much of it as is recorded: no fractions of seconds, no directories' times."""
    return {
        path: replace(
            record,
            size=record.size if record.kind == "file" else None,
            digest=record.digest and record.digest[:DIGEST_DIGITS],
        )
        for path, record in tree.whole_seconds(tree.without_directory_times(found)).items()
    }


def listed(dump: str) -> list[tuple]:
    """What `check --dump` lists, as `nydus_tree` gives it."""
    pattern = r"(/\S*) (\S+) (0\S+) (\d+):(\d+) (-?\d+)\.(\d+)(.*)"
    return sorted(
        (path, kind.replace("regular", "file"), int(mode, 8), int(uid), int(gid), int(seconds),
         int(nanoseconds),
         int(size[1]) if (size := re.search(r"size=(\d+)", rest)) else None)
        for line in dump.splitlines()
        if (match := re.fullmatch(pattern, line))
        for path, kind, mode, uid, gid, seconds, nanoseconds, rest in [match.groups()]
    )  # fmt: skip


def nydus_tree(text: str) -> list[tuple]:
    """The files of one of nydus' bootstraps by another reader: path, kind, attributes, size."""
    pattern = (
        r" *\d+ ([-d])(\S{9}) \S+ +l\d n\d+"
        r" u(\d+) g(\d+) s(\d+) m(\d+)\.(\d+) ino\d+ (\S+) .*"
    )
    return sorted(
        (path, KINDS[kind], _mode(mode), int(uid), int(gid), int(seconds), int(nanoseconds),
         None if kind == "d" else int(size))
        for line in text.splitlines()
        for kind, mode, uid, gid, size, seconds, nanoseconds, path in [
            re.fullmatch(pattern, line).groups()
        ]
    )  # fmt: skip


def _mode(letters: str) -> int:
    return int("".join("0" if letter == "-" else "1" for letter in letters), 2)
