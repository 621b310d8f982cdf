# SPDX-License-Identifier: Apache-2.0
"""The cache: nothing is fetched twice, and what happens to its directory costs no reader a byte."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

import kernel
import oci
import tree
from cases import FILES
from commands import EXIT_NO_SPACE, Lazypull, Mounted, Result
from layers import MEBIBYTE
from rafs import ConvertedImage
from scenarios import file
from tarball import archive
from workspace import LIMIT, Workspace, wait_until


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


def test_without_read_ahead_only_what_is_read_is_fetched(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """With --read-ahead 0 one page costs one chunk; with more, the next ones come along."""
    fetched = {}
    for distance in ("0", "4194304"):
        cache = workspace / f"cache{distance}"
        with lazypull.mount(image.reference, cache, None, "--read-ahead", distance) as mounted:
            with open(mounted.path / "d" / "5", "rb") as opened:
                os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
                os.pread(opened.fileno(), 1, 0)
            statistics = mounted.unmount()
            assert statistics["fetches"] == 1
            fetched[distance] = statistics["fetched-bytes"]
    # Chunks of this image: half a mebibyte of noise, then text and noise again.
    assert 0 < fetched["0"] <= fetched["4194304"] - MEBIBYTE


def test_a_repeated_chunk_does_not_end_looking_ahead(
    lazypull: Lazypull, workspace: Workspace
) -> None:
    """Who goes on is looked ahead of, also where the file ends in a chunk that it had before."""
    first = random.Random(1).randbytes(MEBIBYTE)
    content = first + random.Random(2).randbytes(30 * MEBIBYTE) + first
    layout = oci.Layout.create(workspace / "source")
    layout.put_tars("source", [archive([file(b"f", content)])])
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        with open(mounted.path / "f", "rb") as opened:
            assert opened.read(8 * MEBIBYTE) == content[: 8 * MEBIBYTE]
        # The last windows are of 4 and 8 MiB; without them it is a chunk more than was read.
        (backing,) = (workspace / "cache").glob("blobs/*/data")
        wait_until(lambda: backing.stat().st_blocks * 512 >= 12 * MEBIBYTE, "12 MiB in the cache")


def test_clean_end_leaves_no_runtime_bits(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """What /run holds for a cache is needed by nobody once all is durable."""
    cache = workspace / "cache"
    with lazypull.mount(image.reference, cache) as mounted:
        tree.file_digest(mounted.path / "upper")
        assert list(runtime_bits(cache).iterdir())
    assert list(runtime_bits(cache).iterdir()) == []


def runtime_bits(cache: Path) -> Path:
    """Where the bits of a cache directory are that need not survive a reboot."""
    status = cache.stat()
    return Path(f"/run/lazypull/{status.st_dev:x}-{status.st_ino:x}")


def test_data_is_in_memory_once(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """What the kernel keeps of the mount it does not keep of the backing files as well."""
    cache = workspace / "cache"
    for _ in range(2):
        # Once to fill the cache, which is flushed at the end, and once to read from it.
        with lazypull.mount(image.reference, cache) as mounted:
            tree.assert_same(expected, tree.read(mounted.path))
            files = list(cache.glob("blobs/*/data"))
            resident = sum(resident_bytes(path) for path in files)
    content = sum(path.stat().st_blocks * 512 for path in files)
    if kernel.version() < (6, 14):
        pytest.skip("the kernel cannot read without keeping (RWF_DONTCACHE)")
    assert content > FILES * MEBIBYTE
    # What was read ahead of the last reads may be left: of 0.8 GB it is 0.5 %.
    assert resident <= content / 3


def resident_bytes(path: Path) -> int:
    """How much of a file is in the page cache."""
    result = subprocess.run(
        ["fincore", "--bytes", "--noheadings", "--output", "RES", path],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return int(result.stdout)


def test_hostile_image_has_its_own_cache(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """An image that gives other records for another's blob shares no byte with it."""
    layout = oci.Layout(workspace / "hostile")
    shutil.copytree(image.layout.path, layout.path)
    swap_chunk_places(layout, image.tag)
    hostile = ConvertedImage(layout, image.tag)
    assert {layer["digest"] for layer in hostile.data_layers} == {
        layer["digest"] for layer in image.data_layers
    }
    cache = workspace / "cache"
    # Whichever comes first: neither has what the other stored.
    for first, second in ((hostile, image), (image, hostile)):
        for reference in (first.reference, second.reference):
            mounted = lazypull.try_mount(reference, cache)
            if not isinstance(mounted, Mounted):
                assert reference == hostile.reference
                continue
            if reference == image.reference:
                tree.assert_same(expected, tree.read(mounted.path))
            else:
                read_whatever_comes(mounted.path)
            mounted.unmount()
        shutil.rmtree(cache)


def read_whatever_comes(root: Path) -> None:
    """Reads all files, right, wrong or failing."""
    for path in root.rglob("*"):
        try:
            path.read_bytes()
        except OSError:
            pass


def swap_chunk_places(layout: oci.Layout, tag: str) -> None:
    """Rewrites the bootstrap layer: the digests of the first two chunks change places."""
    manifest = layout.manifest(tag)
    layer = manifest["layers"][-1]
    members = {}
    with tarfile.open(fileobj=io.BytesIO(layout.blob(layer["digest"]))) as tar:
        order = tar.getmembers()
        for member in order:
            members[member.name] = tar.extractfile(member).read() if member.isfile() else None
    name = max((name for name in members if name.endswith(".blob.digest")),
               key=lambda name: len(members[name]))  # fmt: skip
    first, second = members[name][:32], members[name][32:64]
    for other, content in members.items():
        if content is not None:
            marked = content.replace(first, b"\0" * 32)
            members[other] = marked.replace(second, first).replace(b"\0" * 32, second) if (
                first in content
            ) else content
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member in order:
            content = members[member.name]
            tar.addfile(member, io.BytesIO(content) if content is not None else None)
    data = output.getvalue()
    config = layout.document(manifest["config"]["digest"])
    config["rootfs"]["diff_ids"][-1] = oci.sha256(data)
    new = layout.put(gzip.compress(data), layer["mediaType"])
    manifest["layers"][-1] = {**layer, **new}
    manifest["config"] = layout.put_document(config, manifest["config"]["mediaType"])
    layout.set_tag(tag, layout.put_document(manifest, manifest["mediaType"]))


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
