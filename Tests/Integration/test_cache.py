# SPDX-License-Identifier: Apache-2.0
"""The cache: nothing is fetched twice, and what happens to its directory costs no reader a byte."""

from __future__ import annotations

import os
import shutil
import threading

import pytest

import kernel
import tree
from commands import EXIT_NO_SPACE, Lazypull, Mounted, Result
from layers import MEBIBYTE
from rafs import ConvertedImage
from workspace import LIMIT, Workspace


# What is fetched


def test_second_mount_fetches_nothing(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The first mount fetches each chunk once; the next one on its cache, none."""
    cache = workspace / "cache"
    with lazypull.mount(image.reference, cache) as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
        tree.assert_same(expected, tree.read(mounted.path))
        first = mounted.unmount()
    assert first["fetched-bytes"] == first["image-bytes"] > 0
    with lazypull.mount(image.reference, cache) as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
        second = mounted.unmount()
    assert second["reads"] > 0
    assert (second["fetches"], second["fetched-bytes"]) == (0, 0)


def test_mounting_and_walking_fetch_nothing(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Metadata is all in the bootstrap."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        for directory_, _, names in os.walk(mounted.path):
            for name in names:
                os.lstat(os.path.join(directory_, name))
        assert mounted.statistics()["fetched-bytes"] == 0


def test_one_file_costs_one_file(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A read fetches what it needs and perhaps its neighbours, far from the whole image."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        (mounted.path / "upper").read_bytes()
        statistics = mounted.statistics()
    assert 0 < statistics["fetched-bytes"] < statistics["image-bytes"] / 2


def test_many_readers_share_one_fetch(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Sixteen readers of the same cold files get right bytes, and cost one fetch a chunk."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        paths = sorted((mounted.path / "d").iterdir())
        seen: list[tuple[str, ...]] = []
        barrier = threading.Barrier(16)

        def read_all() -> None:
            barrier.wait(LIMIT)
            seen.append(tuple(tree.file_digest(path) for path in paths))

        run_together([read_all] * 16)
        # The upper layer's file completes the image.
        tree.file_digest(mounted.path / "upper")
        statistics = mounted.unmount()
    assert len(seen) == 16 and len(set(seen)) == 1
    assert statistics["fetched-bytes"] == statistics["image-bytes"]


def test_one_cache_has_one_owner(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A second process on the cache is told whose it is not, and disturbs nobody."""
    cache = workspace / "cache"
    with lazypull.mount(image.reference, cache) as first:
        second = lazypull.try_mount(image.reference, cache)
        assert not isinstance(second, Mounted), "two processes share a cache directory"
        second.assert_refused(str(cache))
        assert not kernel.is_mounted(workspace / "mount2")
        tree.assert_same(expected, tree.read(first.path))
    # The lock is gone with its owner.
    with lazypull.mount(image.reference, cache) as third:
        tree.assert_same(expected, tree.read(third.path))

def run_together(actions: list) -> None:
    """Runs each action in a thread of its own, to the end of all."""
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a reader hangs"


# What happens to the directory


@pytest.mark.parametrize("size", [1, 2, 8, 16])
def test_full_disk(
    size: int,
    image: ConvertedImage,
    expected: tree.Tree,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """What does not fit is fetched anew each time; every byte is right, and one line says why."""
    disk = workspace.directory("disk")
    kernel.mount_tmpfs(disk, size * MEBIBYTE)
    for _ in range(2):
        with lazypull.mount(image.reference, disk / "cache") as mounted:
            tree.assert_same(expected, tree.read(mounted.path))
            kernel.drop_page_cache()
            tree.assert_same(expected, tree.read(mounted.path))
    full = [line for line in mounted.log_lines() if "No space left" in line]
    assert 1 <= len(full) <= len(image.data_layers), mounted.log_lines()


def test_disk_without_room_for_metadata(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Where not even the bootstrap fits, there is no mount, and the cause is named."""
    disk = workspace.directory("disk")
    kernel.mount_tmpfs(disk, os.sysconf("SC_PAGESIZE") * 3)
    result = lazypull.try_mount(image.reference, disk / "cache")
    assert isinstance(result, Result), "mounted without room for the bootstrap"
    result.assert_refused("No space left", codes=[EXIT_NO_SPACE])
    assert not kernel.is_mounted(workspace / "mount1")


def test_vanished_directory(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Somebody deletes the cache under a mount: it reads on, and the next one starts afresh."""
    cache = workspace / "cache"
    with lazypull.mount(image.reference, cache) as mounted:
        tree.file_digest(mounted.path / "upper")
        shutil.rmtree(cache)
        tree.assert_same(expected, tree.read(mounted.path))
    with lazypull.mount(image.reference, cache) as mounted:
        tree.assert_same(expected, tree.read(mounted.path))


def test_truncated_backing_files(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Backing files that have lost their end, or all, are never read as if they had not."""
    cache = workspace / "cache"
    for divisor in (2, 1_000_000):
        with lazypull.mount(image.reference, cache) as mounted:
            tree.assert_same(expected, tree.read(mounted.path))
        for path in (path for path in cache.rglob("data") if path.is_file()):
            os.truncate(path, path.stat().st_size // divisor)
        with lazypull.mount(image.reference, cache) as mounted:
            tree.assert_same(expected, tree.read(mounted.path))


def test_read_only_directory(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A cache that cannot be written to is no cache; the message says which directory it is."""
    disk = workspace.directory("disk")
    kernel.mount_tmpfs(disk, MEBIBYTE)
    kernel.remount_read_only(disk)
    result = lazypull.try_mount(image.reference, disk / "cache")
    assert isinstance(result, Result), "mounted over a cache that cannot be written to"
    result.assert_refused(str(disk / "cache"), "Read-only")
