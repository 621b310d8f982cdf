# SPDX-License-Identifier: Apache-2.0
"""Layer stacks, and the tree that they add up to."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import oci
from oci import Compression
from tarball import Entry, Kind, archive

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARKER = b".wh..wh..opq"

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Stack:
    """An image's layers, lowest first, and how each is compressed."""

    layers: list[list[Entry]]
    compressions: list[Compression] | None = None
    types: oci.MediaTypes = oci.OCI

    def tars(self) -> list[bytes]:
        """The layers as tar archives."""
        return [archive(entries) for entries in self.layers]

    def write(self, layout: oci.Layout, tag: str) -> None:
        """Stores the stack as an image."""
        layout.put_tars(tag, self.tars(), self.compressions, self.types)

    def write_twin(self, layout: oci.Layout, tag: str) -> None:
        """Stores the same tars as gzip layers under OCI media types, all that umoci reads."""
        layout.put_tars(tag, self.tars())

    def directory_mtimes(self) -> dict[bytes, int]:
        """The mtime of each directory: its last entry's, or 0 for one without an entry.

        umoci is no judge of these: it leaves the present time on directories without entry, and
        on any directory in which it makes one.
        """
        merged = MergedTree()
        for entries in self.layers:
            merged.begin_layer()
            for entry in entries:
                merged.apply(entry)
        return {
            path: node.mtime_ns
            for path, node in merged.nodes.items()
            if node.kind is Kind.DIRECTORY
        }


@dataclass
class Node:
    """What the merged tree has at a path, as far as the generator needs to know."""

    kind: Kind
    mtime_ns: int = 0
    target: bytes = b""
    # A child without tar entry of such a directory inherits on ext4, where umoci unpacks, what
    # an image does not give it: the group, or an ACL.
    bequeaths: bool = False


@dataclass
class MergedTree:
    """The layers applied so far. Paths are bytes relative to the root, which is `.`."""

    nodes: dict[bytes, Node] = field(default_factory=lambda: {b".": Node(Kind.DIRECTORY)})
    # Paths that the layer being applied has brought; its whiteouts do not concern them.
    touched: set[bytes] = field(default_factory=set)

    def begin_layer(self) -> None:
        """From here on, whiteouts hide what is there now."""
        self.touched.clear()

    def apply(self, entry: Entry) -> None:
        """Takes one entry, in the order of the tar."""
        parent, _, name = normalised(entry.path).rpartition(b"/")
        parent = self.resolve(parent)
        if name == OPAQUE_MARKER:
            self._hide(self.children(parent))
        elif name.startswith(WHITEOUT_PREFIX):
            self._hide([joined(parent, name.removeprefix(WHITEOUT_PREFIX))])
        else:
            self._add(joined(parent, name), entry)

    def _add(self, path: bytes, entry: Entry) -> None:
        node = Node(entry.kind, entry.mtime_ns, entry.target, bequeaths(entry))
        if entry.kind is Kind.HARD_LINK:
            directory, _, name = normalised(entry.target).rpartition(b"/")
            node = self.nodes[joined(self.resolve(directory), name)]
        before = self.nodes.get(path)
        if before and not before.kind is node.kind is Kind.DIRECTORY:
            self.remove(path)
        for ancestor in ancestors(path):
            self.nodes.setdefault(ancestor, Node(Kind.DIRECTORY))
            self.touched.add(ancestor)
        self.nodes[path] = node
        self.touched.add(path)

    def _hide(self, paths: list[bytes]) -> None:
        for path in paths:
            if path not in self.touched:
                self.remove(path)
            else:
                self._hide(self.children(path))

    def remove(self, path: bytes) -> None:
        """Drops a path and everything below it."""
        for name in [path, *self.below(path)]:
            self.nodes.pop(name, None)
            self.touched.discard(name)

    def below(self, path: bytes) -> list[bytes]:
        """Every path inside a directory, however deep."""
        if path == b".":
            return [name for name in self.nodes if name != b"."]
        return [name for name in self.nodes if name.startswith(path + b"/")]

    def children(self, path: bytes) -> list[bytes]:
        """The paths directly inside a directory."""
        return [name for name in self.below(path) if (name.rpartition(b"/")[0] or b".") == path]

    def is_directory(self, path: bytes) -> bool:
        """Whether there is a directory at a resolved path."""
        return path in self.nodes and self.nodes[path].kind is Kind.DIRECTORY

    def resolve(self, path: bytes) -> bytes:
        """Follows symlinks in every component, as if the image's root were `/`."""
        resolved = b"."
        for name in normalised(path).split(b"/"):
            if name in (b"", b"."):
                continue
            if name == b"..":
                resolved = resolved.rpartition(b"/")[0] or b"."
                continue
            candidate = joined(resolved, name)
            node = self.nodes.get(candidate)
            if node and node.kind is Kind.SYMLINK:
                start = b"" if node.target.startswith(b"/") else resolved + b"/"
                candidate = self.resolve(start + node.target)
            resolved = candidate
        return resolved


def normalised(path: bytes) -> bytes:
    """A tar path without `./`, `/` at either end; the root is `.`."""
    return b"/".join(part for part in path.split(b"/") if part not in (b"", b".")) or b"."


def joined(directory: bytes, name: bytes) -> bytes:
    """A path below the root."""
    return name if directory in (b"", b".") else directory + b"/" + name


def ancestors(path: bytes) -> list[bytes]:
    """The directories above a path, the root left out."""
    parts = path.split(b"/")
    return [b"/".join(parts[:count]) for count in range(1, len(parts))]


def bequeaths(entry: Entry) -> bool:
    """Whether a directory hands its group or a default ACL down to what is made in it."""
    return bool(entry.mode & 0o2000) or "system.posix_acl_default" in entry.xattrs


def acl(user: int, *, group: int, mask: int, named: tuple[int, int], other: int) -> bytes:
    """A POSIX ACL as the xattr holds it: version 2, then tag, permissions and id of each entry.

    A file's group bits show the mask, so its mode must agree.
    """
    no_id = 0xFFFFFFFF
    entries = [
        (0x01, user, no_id),
        (0x02, named[1], named[0]),
        (0x04, group, no_id),
        (0x10, mask, no_id),
        (0x20, other, no_id),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def capability(permitted: int, root_id: int | None = None) -> bytes:
    """security.capability with the effective flag: version 2, or 3 when it names a root user."""
    version = 0x02000000 if root_id is None else 0x03000000
    words = struct.pack("<5I", version | 1, permitted & 0xFFFFFFFF, 0, permitted >> 32, 0)
    return words if root_id is None else words + struct.pack("<I", root_id)


CAP_NET_RAW = 1 << 13

ACCESS_ACL = acl(6, group=4, mask=6, named=(4242, 6), other=4)
ACCESS_ACL_MODE = 0o664
DEFAULT_ACL = acl(7, group=5, mask=7, named=(4242, 7), other=0)
