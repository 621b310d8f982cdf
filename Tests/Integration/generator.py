# SPDX-License-Identifier: Apache-2.0
"""Random layer stacks, made from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import oci
from layers import (
    ACCESS_ACL,
    ACCESS_ACL_MODE,
    CAP_NET_RAW,
    DEFAULT_ACL,
    MEBIBYTE,
    OPAQUE_MARKER,
    WHITEOUT_PREFIX,
    MergedTree,
    Stack,
    ancestors,
    capability,
    joined,
    normalised,
)
from oci import Compression
from tarball import NANOSECOND, Dialect, Entry, Kind

FILE_SIZES = [0, 0, 1, 2, 17, 100, 511, 512, 513, 4095, 4096, 4097, 65_536, 100_003]
LARGE_SIZES = [
    MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 2 * MEBIBYTE, 3 * MEBIBYTE + 4097
]  # fmt: skip


def random_stack(seed: int) -> Stack:
    """A stack of layers with everything that layers can hold, the same for the same seed."""
    choices = random.Random(seed)
    types = choices.choice([oci.OCI, oci.DOCKER])
    generator = _Generator(choices)
    layers = [generator.layer(first=number == 0) for number in range(choices.randint(3, 5))]
    compressions = [choices.choice(list(Compression)) for _ in layers]
    return Stack(layers, compressions, types)


class _Generator:
    """Writes layers entry by entry, keeping the merged tree at hand so that each makes sense."""

    def __init__(self, choices: random.Random) -> None:
        self.random = choices
        self.merged = MergedTree()
        self.entries: list[Entry] = []
        # What the layer relies on without having touched it: symlinks of lower layers that it goes
        # through, directories that it takes something from. To take one of these away in the same
        # layer would be to ask which comes first, and layers have no order.
        self.relied_on: set[bytes] = set()
        self.opaque: set[bytes] = set()
        self.serial = 0
        # Chunks that several files share, in one layer and across layers.
        self.shared_chunks = [choices.randbytes(MEBIBYTE) for _ in range(2)]

    def layer(self, *, first: bool) -> list[Entry]:
        """The entries of one more layer."""
        self.entries = []
        self.relied_on.clear()
        self.opaque.clear()
        self.merged.begin_layer()
        if first:
            self._emit(self._directory_entry(b"./"))
            for _ in range(6):
                self._add_directory()
        actions = self._additions() + ([] if first else self._changes())
        for action in self.random.choices(actions, k=45):
            action()
        return self.entries

    def _additions(self) -> list[Callable[[], None]]:
        return [
            self._add_file, self._add_file, self._add_file, self._add_file, self._add_large_file,
            self._add_directory, self._add_directory, self._add_symlink, self._add_device,
            self._add_fifo, self._add_hard_link, self._add_hard_link, self._add_implicit_parents,
            self._add_duplicate, self._add_through_symlink,
        ]  # fmt: skip

    def _changes(self) -> list[Callable[[], None]]:
        return [
            self._white_out, self._white_out, self._make_opaque, self._overwrite,
            self._replace_directory, self._replace_by_directory, self._change_directory,
        ]  # fmt: skip

    # What is added

    def _add_file(self) -> None:
        self._emit(self._file_entry(self._new_path()))

    def _add_large_file(self) -> None:
        size = self.random.choice(LARGE_SIZES)
        content = self.random.choice([
            lambda: self.random.randbytes(size),
            lambda: bytes(size),
            lambda: b"".join(self.random.choices(self.shared_chunks, k=3)),
            lambda: self.shared_chunks[0] + self.random.randbytes(5),
        ])()  # fmt: skip
        self._emit(replace(self._file_entry(self._new_path()), content=content))

    def _add_directory(self) -> None:
        slash = self.random.choice([b"", b"/"])
        self._emit(self._directory_entry(self._new_path() + slash))

    def _add_symlink(self) -> None:
        target = self.random.choice([
            b"nowhere", b"/absolute/" + b"t" * 150, b"../" * 3 + b"x", b"caf\xe9", b"l" * 100
        ])  # fmt: skip
        entry = self._entry(self._new_path(), Kind.SYMLINK, mode=0o777, target=target)
        # The kernel has user.* xattrs for files and directories only.
        if self._one_in(3):
            entry = replace(
                entry, dialect=Dialect.PAX, xattrs={"trusted.lazypull": self.random.randbytes(9)}
            )
        self._emit(entry)

    def _add_device(self) -> None:
        kind = self.random.choice([Kind.CHARACTER_DEVICE, Kind.BLOCK_DEVICE])
        number = self.random.choice([(1, 3), (8, 255), (259, 70_000), (4095, 1)])
        self._emit(self._entry(self._new_path(), kind, mode=0o660, device=number))

    def _add_fifo(self) -> None:
        self._emit(self._entry(self._new_path(), Kind.FIFO, mode=0o600))

    def _add_hard_link(self) -> None:
        # By the names that the layer itself uses: a way through a symlink is a scenario's matter.
        linkable = [
            path
            for path in {normalised(entry.path) for entry in self.entries} & self.merged.touched
            if self.merged.nodes[path].kind is not Kind.DIRECTORY
        ]
        if linkable:
            target = self._pick(linkable)
            prefix = self.random.choice([b"", b"./"])
            self._emit(
                Entry(
                    self._new_path(),
                    Kind.HARD_LINK,
                    target=prefix + target,
                    dialect=self.random.choice([Dialect.PAX, Dialect.GNU]),
                )
            )

    def _add_implicit_parents(self) -> None:
        directory = self._pick(self._directories(heirs=False))
        path = joined(directory, self._new_name())
        for _ in range(self.random.randint(1, 2)):
            path = joined(path, self._new_name())
        self._emit(self._file_entry(path))

    def _add_duplicate(self) -> None:
        """A path that comes twice in one layer: the later entry counts."""
        path = self._new_path()
        self._emit(self._file_entry(path))
        self._add_hard_link()
        later = self.random.choice([self._file_entry, self._directory_entry])
        self._emit(later(path))

    def _add_through_symlink(self) -> None:
        """A file whose parent, as the tar has it, is a symlink to a directory."""
        directory = self._pick(self._directories())
        lower_links = [
            path
            for path in self._untouched(Kind.SYMLINK)
            if self.merged.is_directory(self.merged.resolve(path))
            and self.opaque.isdisjoint(
                [self.merged.resolve(path), *ancestors(self.merged.resolve(path))]
            )
        ]
        if lower_links and self._one_in(2):
            link = self._pick(lower_links)
            self.relied_on |= {link, *ancestors(link)}
            self._emit(self._file_entry(joined(link, self._new_name())))
            return
        # Relative targets would have to know how deep the link lies; the root is easy.
        link = self._new_name()
        target = self.random.choice([b"/" + directory, directory])
        self._emit(self._entry(link, Kind.SYMLINK, mode=0o777, target=target))
        self._emit(self._file_entry(link + b"/" + self._new_name()))

    # What is changed

    def _white_out(self) -> None:
        path = self._pick(self._untouched())
        if path is None:
            return
        parent, _, name = path.rpartition(b"/")
        if len(WHITEOUT_PREFIX + name) > 255:
            return
        marker = self._marker(joined(parent, WHITEOUT_PREFIX + name))
        if self._one_in(3):
            # Away and new again in one layer, in either order of entries.
            again = self._file_entry(path)
            for entry in self.random.sample([marker, again], 2):
                self._emit(entry)
        else:
            self._emit(marker)

    def _make_opaque(self) -> None:
        # Where the layer has been at work below already, overlayfs, for which a layer has no
        # order, and umoci differ about what is hidden.
        directory = self._pick([
            path
            for path in self._directories()
            if path != b"." and self.merged.touched.isdisjoint(self.merged.below(path))
        ])  # fmt: skip
        if directory is None:
            return
        newcomer = self._file_entry(joined(directory, self._new_name()))
        self.opaque.add(directory)
        marker = self._marker(joined(directory, OPAQUE_MARKER))
        for entry in self.random.sample([marker, newcomer], 2):
            self._emit(entry)

    def _overwrite(self) -> None:
        path = self._pick(self._untouched(Kind.REGULAR))
        if path is not None:
            self._emit(self._file_entry(path))

    def _replace_directory(self) -> None:
        path = self._pick(self._untouched(Kind.DIRECTORY))
        if path is not None:
            self._emit(self._file_entry(path))

    def _replace_by_directory(self) -> None:
        path = self._pick(self._untouched(Kind.REGULAR))
        if path is not None:
            self._emit(self._directory_entry(path))
            self._emit(self._file_entry(joined(path, self._new_name())))

    def _change_directory(self) -> None:
        self._emit(self._directory_entry(self._pick(self._directories())))

    # The parts

    def _emit(self, entry: Entry) -> None:
        self.merged.apply(entry)
        self.entries.append(entry)

    def _entry(self, path: bytes, kind: Kind, **attributes) -> Entry:
        """An entry with random owner and times, in a dialect that can say all of it."""
        dialect = self.random.choice([Dialect.PAX, Dialect.PAX, Dialect.GNU])
        nanoseconds = self.random.choice([0, 1, 500_000_000, 123_456_789])
        mtime_ns = self.random.randint(0, 4_000_000_000) * NANOSECOND
        if dialect is Dialect.PAX:
            mtime_ns += nanoseconds
        return Entry(
            self.random.choice([b"", b"", b"./"]) + path,
            kind,
            uid=self.random.choice([0, 0, 1000, 65_534, 3_000_000, 4_000_000_000]),
            gid=self.random.choice([0, 0, 42, 2_999_999]),
            mtime_ns=mtime_ns,
            dialect=dialect,
            **attributes,
        )

    def _file_entry(self, path: bytes) -> Entry:
        mode = self.random.choice([0o644, 0o600, 0o755, 0o4755, 0o2755, 0o6711, 0o1644, 0o000])
        size = self.random.choice(FILE_SIZES)
        content = self.random.choice([self.random.randbytes, self._text])(size)
        entry = self._entry(path, Kind.REGULAR, mode=mode, content=content)
        if entry.dialect is Dialect.PAX and self._one_in(2):
            entry = self._with_file_xattrs(entry)
        return entry

    def _with_file_xattrs(self, entry: Entry) -> Entry:
        match self.random.randrange(4):
            case 0:
                return replace(entry, xattrs={"security.capability": capability(CAP_NET_RAW)})
            case 1:
                xattrs = {"system.posix_acl_access": ACCESS_ACL}
                return replace(entry, mode=ACCESS_ACL_MODE, xattrs=xattrs)
            case 2:
                # No empty values: to Go's tar, and so to umoci, they are as good as none.
                return replace(entry, xattrs={"user.caf\u00e9": b"1\n2=3\0\xff"})
            case _:
                value = self.random.randbytes(self.random.choice([1, 4, 1000]))
                return replace(entry, xattrs={"user.binary": value, "trusted.lazypull": value[:7]})

    def _directory_entry(self, path: bytes) -> Entry:
        mode = self.random.choice([0o755, 0o700, 0o1777, 0o2775])
        entry = self._entry(path, Kind.DIRECTORY, mode=mode)
        if entry.dialect is Dialect.PAX and self._one_in(4):
            xattrs = self.random.choice(
                [{"system.posix_acl_default": DEFAULT_ACL}, {"user.directory": b"yes"}]
            )
            entry = replace(entry, xattrs=xattrs)
        return entry

    def _marker(self, path: bytes) -> Entry:
        self.relied_on |= set(ancestors(path))
        return Entry(path, mode=0, mtime_ns=NANOSECOND, dialect=Dialect.GNU)

    def _text(self, size: int) -> bytes:
        line = b"line %d of a text that compresses well\n" % self.serial
        return (line * (size // len(line) + 1))[:size]

    def _new_name(self) -> bytes:
        self.serial += 1
        stem = b"%03d" % self.serial
        return self.random.choice([
            stem, stem + b".txt", b"-" + stem, b"!" + stem, b" " + stem + b"\n",
            stem + b"\xff\xfe", "gr\u00fc\u00df ".encode() + stem, stem + b"x" * 60,
            stem.ljust(255, b"n"),
        ])  # fmt: skip

    def _new_path(self) -> bytes:
        return joined(self._pick(self._directories()), self._new_name())

    def _directories(self, *, heirs: bool = True) -> list[bytes]:
        return [
            path
            for path, node in self.merged.nodes.items()
            if node.kind is Kind.DIRECTORY and (heirs or not node.bequeaths)
        ]

    def _untouched(self, kind: Kind | None = None) -> list[bytes]:
        return [
            path
            for path, node in self.merged.nodes.items()
            if path != b"."
            and path not in self.merged.touched | self.relied_on
            and kind in (None, node.kind)
        ]

    def _pick(self, paths: list[bytes] | set[bytes]) -> bytes | None:
        # Sorted, for the order of a set of bytes differs from one Python process to the next.
        return self.random.choice(sorted(paths)) if paths else None

    def _one_in(self, count: int) -> bool:
        return self.random.randrange(count) == 0
