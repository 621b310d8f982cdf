# SPDX-License-Identifier: Apache-2.0
"""Through an overlay, as containers see a mount: the same as over the tree that umoci unpacks."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import judges
import kernel
import oci
import tree
from commands import Lazypull
from layers import ACCESS_ACL, ACCESS_ACL_MODE, MEBIBYTE, Stack, acl, capability
from scenarios import directory, file, hard_link, symlink
from workspace import LIMIT, Workspace

CAP_DAC_READ_SEARCH = 1 << 2

# By these a lazy chain is stacked: nothing is copied up for a chown, inode numbers stay.
OVERLAY_OPTIONS = "index=off,xino=on,metacopy=on"

NOBODY_HERE = 2000
IN_ACL = 4242
GROUP_ONLY = 77


def holes() -> bytes:
    """Data, a hole of a mebibyte, data: in a tar, zeros."""
    return b"begin" + bytes(MEBIBYTE - 5) + b"end"


def stack() -> Stack:
    """One file for each thing that overlays and permissions are touchy about."""
    closed = acl(6, group=0, mask=4, named=(IN_ACL, 4), other=0)
    default = acl(7, group=5, mask=7, named=(IN_ACL, 7), other=0)
    return Stack([
        [
            directory(b"d", mode=0o755),
            directory(
                b"shared", mode=0o770,
                xattrs={"system.posix_acl_access": acl(7, group=5, mask=7, named=(IN_ACL, 7), other=0),
                        "system.posix_acl_default": default},
            ),
            file(b"shared/inside", b"inside"),
            file(b"acl", b"by acl", mode=0o640, xattrs={"system.posix_acl_access": closed}),
            file(b"acl2", b"write", mode=ACCESS_ACL_MODE,
                 xattrs={"system.posix_acl_access": ACCESS_ACL}),
            file(b"by-group", b"group", mode=0o640, gid=GROUP_ONLY),
            file(b"secret", b"secret", mode=0o600),
            file(b"id", Path("/usr/bin/id").read_bytes(), mode=0o755),
            file(b"setuid-id", Path("/usr/bin/id").read_bytes(), mode=0o4755),
            file(b"setgid-id", Path("/usr/bin/id").read_bytes(), mode=0o2755, gid=GROUP_ONLY),
            file(b"cat-all", Path("/bin/cat").read_bytes(), mode=0o755,
                 xattrs={"security.capability": capability(CAP_DAC_READ_SEARCH)}),
            file(b"d/xattrs", b"content" * 1000,
                 xattrs={"user.colour": b"blue", "user.binary": bytes(range(8))}),
            hard_link(b"d/other-name", b"d/xattrs"),
            file(b"d/holes", holes()),
            file(b"d/many", os.urandom(3 * MEBIBYTE // 2)),
            symlink(b"d/link", b"xattrs"),
        ],
        [file(b"d/upper", b"upper")],
    ])  # fmt: skip


@contextmanager
def overlay(lower: Path, workspace: Workspace, name: str) -> Iterator[Path]:
    """An overlay over `lower`, for the length of a `with` block."""
    upper, work, target = (workspace.directory(f"{name}-{part}") for part in ("u", "w", "m"))
    kernel.mount_overlay(lower, upper, work, target, OVERLAY_OPTIONS)
    try:
        yield target
    finally:
        kernel.unmount(target)


def run_as(uid: int, *command: str | Path, gid: int | None = None) -> tuple[int, str]:
    """Exit code and output of a command that runs as somebody."""
    who = ["setpriv", "--reuid", str(uid), "--regid", str(gid or uid), "--clear-groups"]
    result = subprocess.run(
        [*who, *command], capture_output=True, text=True, timeout=LIMIT, check=False
    )
    return result.returncode, result.stdout


def permissions(root: Path, shift: int = 0) -> dict[str, object]:
    """Who may read, write and enter what, and what programs may do; ids are raised by `shift`."""
    found: dict[str, object] = {}
    people = [(0, None), (IN_ACL, None), (NOBODY_HERE, None), (NOBODY_HERE, GROUP_ONLY)]
    for uid, gid in ((uid + shift, gid and gid + shift) for uid, gid in people):
        for name in ("acl", "acl2", "by-group", "secret", "shared/inside"):
            found[f"read {name} as {uid}:{gid}"] = run_as(uid, "cat", root / name, gid=gid)
        for name in ("acl2", "acl", "shared/new"):
            found[f"write {name} as {uid}:{gid}"] = run_as(
                uid, "sh", "-c", 'echo more >> "$0" && cat "$0"', root / name, gid=gid
            )
        for name in ("id", "setuid-id"):
            found[f"{name} as {uid}:{gid}"] = run_as(uid, root / name, "-u", gid=gid)
        found[f"setgid-id as {uid}:{gid}"] = run_as(uid, root / "setgid-id", "-g", gid=gid)
        found[f"cat-all as {uid}:{gid}"] = run_as(uid, root / "cat-all", root / "secret", gid=gid)
    for path in sorted(root.rglob("*")):
        names = os.listxattr(path, follow_symlinks=False)
        found[f"xattrs {path.relative_to(root)}"] = {
            name: os.getxattr(path, name, follow_symlinks=False) for name in names
        }
    return found


def segments(path: Path) -> list[tuple[int, int]]:
    """Where the file has data, by SEEK_DATA and SEEK_HOLE."""
    found, end = [], path.stat().st_size
    with open(path, "rb") as opened:
        position = 0
        while position < end:
            try:
                start = os.lseek(opened.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(opened.fileno(), start, os.SEEK_HOLE)
            found.append((start, position))
    return found


def usage(root: Path) -> list[str]:
    """What du says of each file, in bytes on disk; of directories file systems differ."""
    result = subprocess.run(
        ["du", "-al", "--block-size=1", "."], cwd=root, capture_output=True, text=True, check=True
    )
    rows = (line.split("\t") for line in result.stdout.splitlines())
    return sorted(f"{name} {size}" for size, name in rows if not (root / name).is_dir())


def copied_up(root: Path) -> dict[str, object]:
    """What each kind of change leaves of a file."""
    names = ["d/xattrs", "d/other-name", "d/holes", "d/many", "d/upper", "acl"]
    before = {name: (root / name).stat() for name in names}
    with open(root / "d/xattrs", "ab") as opened:
        opened.write(b"more")
    os.chown(root / "d/many", 5, 6)
    with open(root / "d/holes", "r+b") as opened:
        opened.write(b"BEGIN")
    os.setxattr(root / "d/upper", "user.new", b"1")
    os.link(root / "d/upper", root / "d/upper-link")
    os.rename(root / "acl", root / "renamed-acl")
    os.symlink("../d", root / "d/new-link")
    after = {name: (root / name).stat() for name in names if (root / name).exists()}
    return {
        "inode numbers stay": {
            name: (status.st_ino, status.st_dev) == (before[name].st_ino, before[name].st_dev)
            for name, status in after.items()
        },
        "links": {name: status.st_nlink for name, status in after.items()},
        "blocks": {name: status.st_blocks for name, status in after.items()},
        "segments": {name: segments(root / name) for name in after},
        "tree": tree.without_directory_times(without_new_times(tree.read(root))),
    }


def without_new_times(found: tree.Tree) -> tree.Tree:
    """Times that the test itself has just made are of no interest."""
    return {
        path: record if record.mtime_ns < 1_710_000_000 * 10**9 else replace(record, mtime_ns=0)
        for path, record in found.items()
    }


@pytest.fixture
def lowers(lazypull: Lazypull, workspace: Workspace) -> Iterator[tuple[Path, Path]]:
    """Our mount of the image, and umoci's tree of it."""
    layout = oci.Layout.create(workspace / "layout")
    stack().write(layout, "source")
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    unpacked = workspace / "umoci"
    judges.umoci(layout, "source", unpacked)
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        yield mounted.path, unpacked


def on_both(lowers: tuple[Path, Path], workspace: Workspace, examine) -> tuple[object, object]:
    """What is found over our mount, and over umoci's tree."""
    found = []
    for name, lower in zip(("ours", "theirs"), lowers):
        with overlay(lower, workspace, name) as root:
            found.append(examine(root))
    return found[0], found[1]


def test_permissions(lowers: tuple[Path, Path], workspace: Workspace) -> None:
    """ACLs, setuid, setgid and capabilities count as they do on any file system."""
    ours, theirs = on_both(lowers, workspace, permissions)
    assert ours == theirs
    # And they do count.
    assert ours[f"read acl as {IN_ACL}:None"][0] == 0
    assert ours[f"read acl as {NOBODY_HERE}:None"][0] != 0
    assert ours[f"setuid-id as {NOBODY_HERE}:None"] == (0, "0\n")
    assert ours[f"cat-all as {NOBODY_HERE}:None"] == (0, "secret")


def test_permissions_in_a_user_namespace(
    lowers: tuple[Path, Path], workspace: Workspace
) -> None:
    """One mount serves containers with other ids as well: mapped, it is like a mapped ext4."""
    if kernel.version() < (6, 12):
        pytest.skip("before Linux 6.12 FUSE mounts cannot be mapped to other ids")
    shift, found = 100_000, []
    for name, lower in zip(("ours", "theirs"), lowers):
        # umoci's tree is no mount of its own: a bind is cloned.
        target = workspace.directory(f"{name}-mapped")
        with kernel.mapped_mount(lower, target, shift), overlay(target, workspace, name) as root:
            status = (root / "by-group").stat()
            assert (status.st_uid, status.st_gid) == (shift, shift + GROUP_ONLY)
            found.append(permissions(root, shift))
    ours, theirs = found
    assert ours == theirs
    assert ours[f"read acl as {IN_ACL + shift}:None"][0] == 0
    assert ours[f"read acl as {NOBODY_HERE + shift}:None"][0] != 0
    assert ours[f"setuid-id as {NOBODY_HERE + shift}:None"] == (0, f"{shift}\n")


def test_copy_up(lowers: tuple[Path, Path], workspace: Workspace) -> None:
    """Attributes, links, contents and inode numbers survive a change of the file."""
    ours, theirs = on_both(lowers, workspace, copied_up)
    for kind, expected in theirs.items():
        assert ours[kind] == expected, kind
    # A hard link's other name keeps the old file: overlays without an index break links.
    stay = ours["inode numbers stay"]
    assert all(stays for name, stays in stay.items() if name != "d/xattrs"), stay


def test_disk_usage(lowers: tuple[Path, Path], workspace: Workspace) -> None:
    """du says of each file what it says of it unpacked."""
    ours, theirs = on_both(lowers, workspace, usage)
    assert ours == theirs


def test_copy_up_keeps_holes(lazypull: Lazypull, workspace: Workspace) -> None:
    """A sparse file of a layer is sparse when copied up, as a real one is; no zeros are fetched."""
    files = workspace.directory("files")
    data = [(0, MEBIBYTE), (10 * MEBIBYTE, 2 * MEBIBYTE)]
    with open(files / "sparse", "wb") as opened:
        for offset, count in data:
            opened.seek(offset)
            opened.write(os.urandom(count))
        opened.truncate(64 * MEBIBYTE + 100)
    archive = workspace / "layer.tar"
    subprocess.run(
        ["tar", "--sparse", "--format=posix", "-cf", archive, "-C", files, "."], check=True
    )
    layout = oci.Layout.create(workspace / "layout")
    layout.put_tars("source", [archive.read_bytes()])
    image = lazypull.convert(layout.reference("source"), layout, "lazy")

    def copied_up_holes(root: Path) -> tuple[object, ...]:
        with open(root / "sparse", "r+b"):
            pass
        status = (root / "sparse").stat()
        return segments(root / "sparse"), status.st_blocks, (root / "sparse").read_bytes()

    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        expected = [(offset, offset + count) for offset, count in data]
        assert segments(mounted.path / "sparse") == expected
        assert mounted.statistics()["fetches"] == 0
        ours, theirs = on_both((mounted.path, files), workspace, copied_up_holes)
        assert ours == theirs
        assert ours[0] == expected
        assert mounted.statistics()["fetched-bytes"] < 3 * MEBIBYTE + 4096


def test_chown_of_everything_fetches_nothing(
    lazypull: Lazypull, workspace: Workspace, image, expected: tree.Tree
) -> None:
    """`chown -R` copies metadata up and no data."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        with overlay(mounted.path, workspace, "o") as root:
            subprocess.run(["chown", "-R", "7:7", root], check=True)
            assert (root / "d" / "0").stat().st_uid == 7
        assert mounted.statistics()["fetched-bytes"] == 0
    shutil.rmtree(workspace / "cache")
