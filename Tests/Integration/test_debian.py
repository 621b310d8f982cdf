# SPDX-License-Identifier: Apache-2.0
"""A real image: Debian with python3, in three gzip layers that debootstrap and apt have made."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import demo
import judges
import oci
import tree
from commands import Lazypull, Mounted
from rafs import ConvertedImage, Unpacked
from workspace import LIMIT, Workspace, open_workspace

pytestmark = pytest.mark.limit(600)

PROGRAM = ["/usr/bin/python3", "-c", "import json, ssl, sqlite3"]

# Of the image's compressed bytes, as much as the start of the program may fetch.
# With --read-ahead 0 it is 17 %, in twice as many requests.
LARGEST_SHARE = 0.4


@dataclass(frozen=True)
class DebianCase:
    """The image, its conversion, and its tree by umoci's word."""

    source: str
    image: ConvertedImage
    unpacked: Unpacked
    expected: tree.Tree


@pytest.fixture(scope="module")
def case(binary: Path) -> Iterator[DebianCase]:
    """Built or found, converted and unpacked once."""
    source = demo.layout()
    with open_workspace() as workspace:
        image = Lazypull(binary, workspace).convert(
            source.reference(demo.TAG), oci.Layout(workspace / "target"), "lazy"
        )
        yield DebianCase(
            source.reference(demo.TAG),
            image,
            image.unpack(workspace / "devices"),
            judges.umoci(source, demo.TAG, workspace / "umoci"),
        )


def test_image_is_worth_the_name(case: DebianCase) -> None:
    """The image has what the comparison below is about."""
    records = case.expected.values()
    names = {name for record in records for name, _ in record.xattrs}
    assert len(case.expected) > 5000
    assert {"file", "directory", "symlink", "fifo", "character device", "block device"} == {
        record.kind for record in records
    }
    assert any(record.kind == "file" and record.mode & 0o4000 for record in records)
    assert any(record.kind == "file" and record.nlink > 1 for record in records)
    assert {"security.capability", "user.note", "trusted.note"} <= names
    # Whiteouts and the opaque directory have done their work.
    assert b"usr/share/man" not in case.expected
    assert [path for path in case.expected if path.startswith(b"usr/share/doc/")] == [
        b"usr/share/doc/README"
    ]


def test_check_against_source(case: DebianCase, lazypull: Lazypull) -> None:
    """Every attribute and byte, by our own second reading."""
    lazypull.check(case.image.reference, "--against", case.source).assert_done()


def test_fuse_mount(case: DebianCase, lazypull: Lazypull, workspace: Workspace) -> None:
    """The full walk through our mount, then one through a second mount on the full cache."""
    cache = workspace / "cache"
    with lazypull.mount(case.image.reference, cache) as mounted:
        tree.assert_same(case.expected, tree.read(mounted.path))
        first = mounted.unmount()
    # What comes along with a miss may be of files that a higher layer hides.
    stored = sum(layer["size"] for layer in case.image.data_layers)
    assert first["image-bytes"] <= first["fetched-bytes"] <= stored
    with lazypull.mount(case.image.reference, cache) as mounted:
        tree.assert_same(case.expected, tree.read(mounted.path))
        assert mounted.unmount()["fetched-bytes"] == 0


def test_unpack(case: DebianCase, lazypull: Lazypull, workspace: Workspace) -> None:
    """The full walk through what unpack has laid out."""
    unpacked = lazypull.unpack(case.image.reference, workspace / "unpacked")
    tree.assert_same(case.expected, tree.read(unpacked))


def test_kernel_erofs(case: DebianCase, workspace: Workspace) -> None:
    """The full walk through the kernel's own file system."""
    with judges.mounted_erofs(case.unpacked, workspace / "erofs") as mounted:
        tree.assert_same(case.expected, tree.read(mounted))


def test_fsck_extract(case: DebianCase, workspace: Workspace) -> None:
    """The same bytes by erofs-utils."""
    extracted = judges.fsck_extract(case.unpacked, workspace / "extracted")
    assert tree.contents(extracted) == tree.contents(case.expected)


def test_program_starts_from_little(
    case: DebianCase,
    lazypull: Lazypull,
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A cold start fetches a small part of the image; the next one on its cache, nothing."""
    cache = workspace / "cache"
    with lazypull.mount(case.image.reference, cache) as mounted:
        run_program(mounted)
        cold = mounted.unmount()
    share = cold["fetched-bytes"] / cold["image-bytes"]
    with capsys.disabled():
        print(
            f"\n{PROGRAM[-1]!r} on a cold mount: {cold['fetched-bytes']:,} of "
            f"{cold['image-bytes']:,} bytes fetched, {share:.1%}"
        )
    assert 0 < share < LARGEST_SHARE
    with lazypull.mount(case.image.reference, cache) as mounted:
        run_program(mounted)
        assert mounted.unmount()["fetched-bytes"] == 0


def run_program(mounted: Mounted) -> None:
    """Runs the program with the mount as its root."""
    subprocess.run(["chroot", mounted.path, *PROGRAM], check=True, timeout=LIMIT)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_do_not_show(
    threads: int, case: DebianCase, lazypull: Lazypull, workspace: Workspace
) -> None:
    """However many convert it, the image is the same to the byte."""
    again = lazypull.convert(
        case.source, oci.Layout(workspace / "again"), "lazy", "--threads", str(threads)
    )
    assert again.digest == case.image.digest
