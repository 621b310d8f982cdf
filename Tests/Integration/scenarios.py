# SPDX-License-Identifier: Apache-2.0
"""Layer stacks by hand: one peculiarity each, so that a failure has a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from layers import (
    ACCESS_ACL,
    ACCESS_ACL_MODE,
    CAP_NET_RAW,
    DEFAULT_ACL,
    MEBIBYTE,
    OPAQUE_MARKER,
    Stack,
    capability,
)
from oci import Compression
from tarball import NANOSECOND, Dialect, Entry, Kind

NOON = 1_700_000_000 * NANOSECOND


def file(path: bytes, content: bytes = b"content", **attributes) -> Entry:
    """A regular file."""
    return Entry(path, content=content, **{"mtime_ns": NOON, **attributes})


def directory(path: bytes, **attributes) -> Entry:
    """A directory with an entry of its own."""
    return Entry(path, Kind.DIRECTORY, **{"mode": 0o755, "mtime_ns": NOON, **attributes})


def symlink(path: bytes, target: bytes) -> Entry:
    """A symbolic link."""
    return Entry(path, Kind.SYMLINK, mode=0o777, mtime_ns=NOON, target=target)


def hard_link(path: bytes, target: bytes) -> Entry:
    """One more name for what an earlier entry made."""
    return Entry(path, Kind.HARD_LINK, target=target)


def empty_image() -> Stack:
    """One layer without any entry."""
    return Stack([[]])


def metadata_only() -> Stack:
    """No file data at all, so no blob needs to be mounted."""
    return Stack([[directory(b"d"), symlink(b"d/l", b"x"), file(b"d/empty", b"")]])


def same_layer_twice() -> Stack:
    """One blob under two layers."""
    layer = [directory(b"d"), file(b"d/f", b"twice" * 1000)]
    return Stack([layer, layer])


def layer_of_whiteouts_only() -> Stack:
    """The upper layer brings nothing and takes away, also what was never there."""
    lower = [directory(b"d"), file(b"d/gone"), file(b"d/kept"), directory(b"e"), file(b"e/gone")]
    return Stack([lower, [file(b"d/.wh.gone", b""), file(b".wh.e", b""), file(b".wh.never", b"")]])


def markers_in_missing_directories() -> Stack:
    """A marker alone makes no directory, be it gone by another marker or never there."""
    lower = [directory(b"d"), directory(b"d/e"), file(b"d/e/f")]
    upper = [file(b"d/e/.wh.f", b""), file(b"d/.wh.e", b""), file(b"never/.wh.f", b""),
             file(b"nor/this/" + OPAQUE_MARKER, b"")]  # fmt: skip
    return Stack([lower, upper])


def opaque_directory_within_hidden_tree() -> Stack:
    """Markers after the newcomers, and deeper ones below an opaque directory.

    The upper layer has an entry for `a/b`: without it, whose attributes are right depends on
    whether one thinks of tar entries in their order or of overlayfs.
    """
    lower = [directory(b"a"), directory(b"a/b"), file(b"a/b/old"), file(b"a/old")]
    upper = [directory(b"a/b", mode=0o700), file(b"a/b/new"), file(b"a/" + OPAQUE_MARKER, b""),
             file(b"a/b/.wh.old", b"")]  # fmt: skip
    return Stack([lower, upper])


def opaque_directory_without_entry() -> Stack:
    """The marker hides what the directory held, and leaves its attributes alone."""
    lower = [directory(b"d", mode=0o1777, uid=5), file(b"d/old"), directory(b"e"), file(b"e/old")]
    upper = [file(b"d/" + OPAQUE_MARKER, b""), file(b"d/new"), file(b"e/" + OPAQUE_MARKER, b"")]
    return Stack([lower, upper])


def back_after_whiteout() -> Stack:
    """Away in one layer, back in the next as another type."""
    return Stack([
        [directory(b"x"), file(b"x/deep")],
        [file(b".wh.x", b"")],
        [file(b"x", b"now a file")],
        [directory(b"x", mode=0o700), file(b"x/again")],
    ])  # fmt: skip


def whiteout_through_symlink() -> Stack:
    """The marker's parent is a symlink to a directory of a lower layer, as with merged /usr."""
    lower = [directory(b"usr"), directory(b"usr/bin"), file(b"usr/bin/a"), file(b"usr/bin/b"),
             symlink(b"bin", b"usr/bin")]  # fmt: skip
    return Stack([lower, [file(b"bin/.wh.a", b"")]])


def files_through_symlink() -> Stack:
    """New, replaced and linked files whose parent is a symlink of a lower layer."""
    lower = [directory(b"usr"), directory(b"usr/bin", mode=0o711), file(b"usr/bin/a"),
             symlink(b"bin", b"usr/bin"), symlink(b"sbin", b"/bin")]  # fmt: skip
    return Stack([lower, [file(b"bin/a", b"replaced"), file(b"sbin/b", b"new")]])


def file_through_symlink_into_opaque_directory() -> Stack:
    """What the layer itself brings is never hidden by its own marker, whichever way it came."""
    lower = [directory(b"d"), file(b"d/old"), symlink(b"l", b"d")]
    return Stack([lower, [file(b"d/" + OPAQUE_MARKER, b""), file(b"l/new")]])


def directory_over_symlink() -> Stack:
    """A directory entry replaces a symlink to a directory, and does not go through it."""
    lower = [directory(b"real"), file(b"real/f"), symlink(b"link", b"real")]
    return Stack([lower, [directory(b"link"), file(b"link/own")]])


def directory_known_from_below() -> Stack:
    """A layer without an entry for a directory of a lower one does not change its attributes."""
    lower = [directory(b"d", mode=0o1777, uid=5, xattrs={"user.d": b"d"}), directory(b"d/e", gid=6)]
    return Stack([lower, [file(b"d/e/f"), file(b"d/f")], [file(b"d/.wh.f", b"")]])


def hard_links() -> Stack:
    """Links of files, symlinks, devices and fifos; one name replaced, one hidden later."""
    lower = [
        file(b"f", b"linked" * 3000), hard_link(b"f2", b"./f"), hard_link(b"f3", b"f2"),
        symlink(b"s", b"f"), hard_link(b"s2", b"s"),
        Entry(b"c", Kind.CHARACTER_DEVICE, device=(1, 3), mtime_ns=NOON), hard_link(b"c2", b"c"),
        Entry(b"p", Kind.FIFO, mtime_ns=NOON), hard_link(b"p2", b"p"),
    ]  # fmt: skip
    return Stack([lower, [file(b"f2", b"apart"), file(b".wh.s", b"")]])


def hard_link_before_replacement() -> Stack:
    """A link keeps the file whose first name the same layer gives to another."""
    return Stack([[file(b"a", b"first"), hard_link(b"b", b"a"), file(b"a", b"second")]])


def repeated_entries() -> Stack:
    """One path again and again in one layer, each time of another type."""
    return Stack([[
        file(b"x", b"1"), directory(b"x"), file(b"x/inside"), symlink(b"x", b"y"),
        directory(b"x", mode=0o711), file(b"x/outside"), directory(b"x", mode=0o750),
    ]])  # fmt: skip


def children_first() -> Stack:
    """A directory's own entry after what is in it."""
    return Stack([[file(b"d/e/f"), directory(b"d/e", mode=0o700), directory(b"d", mode=0o711)]])


def implicit_parents() -> Stack:
    """Directories without any entry, and with one in a later layer only."""
    return Stack([[file(b"a/b/c/f"), file(b"d/f")], [directory(b"a/b", uid=7, gid=8)]])


def odd_paths() -> Stack:
    """Leading `./` and `/`, double and trailing slashes."""
    return Stack([[directory(b"./", mode=0o751), directory(b"./d//"), file(b"/d/absolute"),
                   file(b"d//double"), directory(b"d/./e/")]])  # fmt: skip


def odd_names() -> Stack:
    """Names that sort around `.` and `..`, that are no UTF-8, of 1 and of 255 bytes."""
    names = [b"!", b"-", b"...", b".-", b"..x", b".wh", b"\xff\xfe", b"\x01", b"\n", b"\\040", b" ",
             "\u00e9".encode(), b"\xe9", b"n" * 254, b"m" * 255]  # fmt: skip
    return Stack([
        [file(name, name, dialect=dialect) for name in names]
        for dialect in (Dialect.PAX, Dialect.GNU)
    ])  # fmt: skip


def long_paths() -> Stack:
    """Paths and targets around what headers hold, in each dialect's way of saying more."""
    lengths = (99, 100, 101, 155, 256, 257, 1100)
    layers = []
    for dialect in (Dialect.PAX, Dialect.GNU):
        top = dialect.value.encode()
        layers.append([
            entry
            for length in lengths
            for path in [(top + b"/" + b"%d/" % length + b"directory/" * 110)[: length - 1] + b"f"]
            for entry in (
                file(path, dialect=dialect),
                replace(symlink(path + b"l", b"t" * length), dialect=dialect),
                replace(hard_link(path + b"h", path), dialect=dialect),
            )
        ])  # fmt: skip
    prefix = b"prefix/" * 15
    layers.append([file(prefix + b"n" * 100, dialect=Dialect.USTAR)])
    return Stack(layers)


def odd_times() -> Stack:
    """Before 1970, after 2038, and down to the nanosecond."""
    moments = [0, 1, -1, -NANOSECOND, -2 * NANOSECOND + 1, (1 << 31) * NANOSECOND,
               NOON + 999_999_999, 8_000_000_000 * NANOSECOND + 5]  # fmt: skip
    pax = [file(b"p%d" % number, mtime_ns=moment) for number, moment in enumerate(moments)]
    gnu = [
        file(b"g%d" % number, mtime_ns=moment, dialect=Dialect.GNU)
        for number, moment in enumerate(moments)
        if moment % NANOSECOND == 0
    ]
    return Stack([pax + gnu + [directory(b"d", mtime_ns=-1)]])


def owners_and_modes() -> Stack:
    """Ids beyond octal's reach, and every special bit."""
    ids = (0, 1, 65_535, 65_536, 2_097_151, 2_097_152, 4_294_967_294)
    files = [
        file(dialect.value.encode() + b"%d" % number, uid=number, gid=number, dialect=dialect)
        for number in ids
        for dialect in (Dialect.PAX, Dialect.GNU)
    ]
    bits = [file(b"bits%o" % mode, mode=mode) for mode in (0, 0o1644, 0o2755, 0o4755, 0o7777)]
    return Stack([files + bits + [directory(b"d", mode=0o7777)]])


def extended_attributes() -> Stack:
    """Capabilities of both versions, ACLs of both kinds, binary and large values."""
    xattrs = {
        "capability2": {"security.capability": capability(CAP_NET_RAW)},
        "capability3": {"security.capability": capability(CAP_NET_RAW, root_id=100_000)},
        "binary": {"user.binary": bytes(range(256)), "user.newline": b"\n"},
        "large": {"user.large": b"v" * 3000},
        "many": {f"user.name{number}": b"%d" % number for number in range(40)},
        "trusted": {"trusted.t": b"t", "security.s": b"s"},
    }
    files = [file(name.encode(), xattrs=values) for name, values in xattrs.items()]
    acls = {"system.posix_acl_access": ACCESS_ACL, "system.posix_acl_default": DEFAULT_ACL}
    return Stack([[
        *files,
        file(b"acl", mode=ACCESS_ACL_MODE, xattrs={"system.posix_acl_access": ACCESS_ACL}),
        directory(b"d", mode=0o775 & ACCESS_ACL_MODE, xattrs=acls),
        file(b"d/heir", mode=0o640),
        Entry(b"device", Kind.BLOCK_DEVICE, device=(8, 1), xattrs={"trusted.d": b"d"}),
        replace(symlink(b"link", b"d"), xattrs={"security.l": b"l"}),
    ], [
        # An upper entry brings its own attributes, and none of the lower one's survive.
        file(b"binary", xattrs={"user.other": b"o"}), directory(b"d", mode=0o700),
    ]])  # fmt: skip


def chunk_boundaries() -> Stack:
    """Sizes around the chunk's, data that repeats within and across files and layers."""
    block = b"".join(b"%07d\n" % number for number in range(MEBIBYTE // 8))
    files = [
        file(b"size%d" % size, (block * 3)[:size])
        for size in (MEBIBYTE - 1, MEBIBYTE, MEBIBYTE + 1, 2 * MEBIBYTE, 2 * MEBIBYTE + 4096)
    ]
    zeros = file(b"zeros", bytes(3 * MEBIBYTE + 1))
    return Stack([[*files, zeros], [file(b"again", block + b"tail" + block)]])


def crowded_directory() -> Stack:
    """More names than fit in a block of directory entries, in no order."""
    names = [b"%d-%s" % (number * 7919 % 1500, b"x" * (number % 90)) for number in range(1500)]
    return Stack([[directory(b"d"), *(file(b"d/" + name, b"") for name in names)]])


def every_compression() -> Stack:
    """Each way to store a layer, one above the other."""
    ways = list(Compression)
    return Stack([[file(b"f%d" % number, b"layer" * 9999)] for number in range(len(ways))], ways)


SCENARIOS: list[Callable[[], Stack]] = [
    empty_image, metadata_only, same_layer_twice, layer_of_whiteouts_only,
    markers_in_missing_directories, opaque_directory_within_hidden_tree,
    opaque_directory_without_entry, back_after_whiteout, whiteout_through_symlink,
    files_through_symlink, file_through_symlink_into_opaque_directory, directory_over_symlink,
    directory_known_from_below, hard_links, hard_link_before_replacement, repeated_entries,
    children_first, implicit_parents, odd_paths, odd_names, long_paths, odd_times, owners_and_modes,
    extended_attributes, chunk_boundaries, crowded_directory, every_compression,
]  # fmt: skip


def hard_link_through_symlink() -> Stack:
    """The layer has the link's first name, but under another path than the link says."""
    lower = [directory(b"usr"), directory(b"usr/bin"), symlink(b"bin", b"usr/bin")]
    return Stack([lower, [file(b"usr/bin/a"), hard_link(b"bin/b", b"bin/a")]])


def hard_link_into_lower_layer() -> Stack:
    """The link's first name is in the layer below, and the layer does not repeat it."""
    return Stack([[file(b"old", b"shared" * 500)], [hard_link(b"b", b"old")]])


def hard_link_to_directory() -> Stack:
    """What no file system would allow."""
    return Stack([[directory(b"d"), hard_link(b"b", b"d")]])


def hard_link_to_nothing() -> Stack:
    """The link's first name is nowhere."""
    return Stack([[hard_link(b"b", b"nowhere")]])


def hard_link_before_its_target() -> Stack:
    """The link's first name comes too late."""
    return Stack([[hard_link(b"b", b"a"), file(b"a")]])


# Refused, by the name of the link `b`: umoci takes some of them, but what they mean depends on
# layers below, and no layer could be used with others than its own.
REFUSED: list[Callable[[], Stack]] = [
    hard_link_through_symlink, hard_link_into_lower_layer, hard_link_to_directory,
    hard_link_to_nothing, hard_link_before_its_target,
]  # fmt: skip


def empty_xattr_values() -> Stack:
    """Attributes that are there, and hold nothing. umoci is no judge: it drops them."""
    attributes = {"user.empty": b"", "user.full": b"1", "trusted.empty": b""}
    return Stack([[
        file(b"f", xattrs=attributes), file(b"only", xattrs={"user.empty": b""}),
        directory(b"d", xattrs=attributes),
    ]])  # fmt: skip
