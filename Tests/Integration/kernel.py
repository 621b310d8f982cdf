# SPDX-License-Identifier: Apache-2.0
"""Mounts as the kernel sees them: mount(2) and umount2(2) themselves, and mountinfo.

mount(8) will not do: for EROFS it sets up loop devices behind our back, and umount(8) may start
helpers; the tests want to know what exactly was asked of the kernel.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MS_RDONLY = 1
MS_REMOUNT = 32
MNT_DETACH = 2
FUSE_SUPER_MAGIC = 0x65735546

_libc = ctypes.CDLL(None, use_errno=True)


class EROFSFromFilesUnsupported(Exception):
    """This kernel mounts EROFS from block devices only."""


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    path: Path
    filesystem: str
    source: str
    device: str


def mount_erofs(bootstrap: Path, devices: list[Path], target: Path) -> None:
    """Mounts an EROFS image straight from its file, with its extra devices in table order."""
    options = ",".join(f"device={device}" for device in devices)
    # The kernel copies one page of options; a cut-off list would mount with too few devices.
    assert len(options) < os.sysconf("SC_PAGESIZE"), "too many devices for mount(2)"
    try:
        _mount(bootstrap, target, "erofs", MS_RDONLY, options)
    except OSError as error:
        if error.errno == errno.ENOTBLK:
            raise EROFSFromFilesUnsupported from error
        raise


def _mount(source: Path, target: Path, filesystem: str, flags: int, options: str) -> None:
    arguments = [os.fsencode(source), os.fsencode(target), filesystem.encode()]
    if _libc.mount(*arguments, ctypes.c_ulong(flags), options.encode()) != 0:
        _raise(target)


def unmount(target: Path, flags: int = 0) -> None:
    """umount2(2); raises OSError, EBUSY included."""
    if _libc.umount2(os.fsencode(target), flags) != 0:
        _raise(target)


def _raise(path: Path) -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number), str(path))


def mounts_below(directory: Path) -> list[Mount]:
    """The mounts at or below `directory`, in the order in which they were made."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8", "surrogateescape").splitlines():
        before, after = line.split(" - ", 1)
        fields = before.split(" ")
        path = Path(_unescaped(fields[4]))
        if path == directory or directory in path.parents:
            filesystem, source = after.split(" ")[:2]
            found.append(Mount(path, filesystem, _unescaped(source), fields[2]))
    return found


def is_mounted(target: Path) -> bool:
    """Whether `target` itself is a mount point, without touching a file system that may hang."""
    return any(mount.path == target for mount in mounts_below(target))


def fuse_answers(target: Path) -> bool:
    """Whether a FUSE file system is at `target` and its process alive.

    One statfs(2) tells: what a dead process left fails it, and what lies below is of another type.
    """
    # f_type is the first member; the rest of struct statfs has room, and is not looked at.
    buffer = (ctypes.c_long * 64)()
    return _libc.statfs(os.fsencode(target), buffer) == 0 and buffer[0] == FUSE_SUPER_MAGIC


def version() -> tuple[int, int]:
    """The running kernel's version, as far as features depend on it."""
    major, minor = re.match(r"(\d+)\.(\d+)", os.uname().release).groups()
    return int(major), int(minor)


def read_ahead_kilobytes(target: Path) -> int:
    """How far the kernel reads ahead in the file system at `target`."""
    mount = mounts_below(target)[-1]
    return int(Path(f"/sys/class/bdi/{mount.device}/read_ahead_kb").read_text())


def mount_overlay(lower: Path, upper: Path, work: Path, target: Path, options: str) -> None:
    """An overlay of one lower directory."""
    directories = f"lowerdir={lower},upperdir={upper},workdir={work}"
    _mount(Path("overlay"), target, "overlay", 0, f"{directories},{options}")


@contextmanager
def mapped_mount(source: Path, target: Path, shift: int) -> Iterator[Path]:
    """The mount at `source` once more at `target`, its user and group ids raised by `shift`.

    This is how containerd hands an image to a container with a user namespace of its own.
    """
    mapping = f"0 {shift} 65536\n"
    holder = subprocess.Popen(["unshare", "--user", "sleep", "infinity"])
    try:
        namespace = Path(f"/proc/{holder.pid}/ns/user")
        while os.readlink(namespace) == os.readlink("/proc/self/ns/user"):
            time.sleep(0.01)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{holder.pid}/{name}").write_text(mapping)
        with open(namespace, "rb") as opened:
            tree = _call(_OPEN_TREE, -100, os.fsencode(source), _OPEN_TREE_CLONE | os.O_CLOEXEC)
            try:
                attributes = struct.pack("=QQQQ", _MOUNT_ATTR_IDMAP, 0, 0, opened.fileno())
                _call(_MOUNT_SETATTR, tree, b"", _AT_EMPTY_PATH, attributes, len(attributes))
                _call(_MOVE_MOUNT, tree, b"", -100, os.fsencode(target), _MOVE_MOUNT_F_EMPTY_PATH)
            finally:
                os.close(tree)
    finally:
        holder.kill()
        holder.wait()
    try:
        yield target
    finally:
        unmount(target)


# Of linux/mount.h; the numbers of the calls are the same on all processors.
_OPEN_TREE, _MOVE_MOUNT, _MOUNT_SETATTR = 428, 429, 442
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 4
_MOUNT_ATTR_IDMAP = 0x00100000
_AT_EMPTY_PATH = 0x1000


def _call(number: int, *arguments: int | bytes) -> int:
    """syscall(2), for what the C library has no function for; raises OSError."""
    words = [
        ctypes.c_char_p(word) if isinstance(word, bytes) else ctypes.c_long(word)
        for word in arguments
    ]
    result = _libc.syscall(ctypes.c_long(number), *words)
    if result == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"system call {number}: {os.strerror(code)}")
    return result


def mount_tmpfs(target: Path, size: int) -> None:
    """A file system that is full after `size` bytes."""
    _mount(Path("tmpfs"), target, "tmpfs", 0, f"size={size}")


def remount_read_only(target: Path) -> None:
    """From here on, writes below `target` fail with EROFS."""
    _mount(Path("none"), target, "none", MS_REMOUNT | MS_RDONLY, "")


def _unescaped(text: str) -> str:
    """mountinfo writes blanks, tabs, newlines and backslashes as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def abort_fuse(mount: Mount) -> None:
    """Ends a FUSE connection by force, so that whoever hangs in it gets an error."""
    minor = mount.device.split(":")[1]
    control = Path("/sys/fs/fuse/connections") / minor / "abort"
    if control.exists():
        control.write_text("1")


def drop_page_cache() -> None:
    """Empties the page cache: the next read of anything that is on disk goes to disk."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
