# SPDX-License-Identifier: Apache-2.0
"""Damaged and hostile images: an error with a name, never a trap, a hang or wrong bytes."""

from __future__ import annotations

import errno
import mmap
import os
import time
import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

import damage
import oci
import tree
from commands import EXIT_DONE, EXIT_FAILED, EXIT_NAMED_CAUSES, Lazypull, Mounted, short
from layers import MEBIBYTE, Stack
from rafs import ConvertedImage
from scenarios import directory, file, hard_link, symlink
from workspace import Workspace, wait_until

LARGE = b"d/large"

# Seconds after which a failure is no longer the answer to the same question.
FORGOTTEN = 0.5


def stack() -> Stack:
    """Two layers with a bit of everything that a parser must follow."""
    choices = random.Random(6)
    text = b"".join(b"%d bottles\n" % number for number in range(40_000))
    return Stack([
        [directory(b"d"), file(LARGE, choices.randbytes(2 * MEBIBYTE + 100)), file(b"text", text),
         symlink(b"link", b"d/large"), file(b"x", b"x", xattrs={"user.x": b"1" * 50})],
        [directory(b"many"), *(file(b"many/%d" % n, b"%d" % n * 700) for n in range(200)),
         hard_link(b"many/link", b"many/1")],
    ])  # fmt: skip


@pytest.fixture(scope="module")
def pristine(
    binary: Path, module_workspace: Workspace
) -> tuple[ConvertedImage, tree.Tree]:
    """The image before it is damaged, and its tree."""
    layout = oci.Layout.create(module_workspace / "layout")
    stack().write(layout, "source")
    lazypull = Lazypull(binary, module_workspace)
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    with lazypull.mount(image.reference, module_workspace / "cache") as mounted:
        return image, tree.read(mounted.path)


@pytest.fixture
def image(pristine: tuple[ConvertedImage, tree.Tree], workspace: Workspace) -> ConvertedImage:
    """A copy to be damaged."""
    shutil.copytree(pristine[0].layout.path, workspace / "layout")
    return ConvertedImage(oci.Layout(workspace / "layout"), "lazy")


@pytest.fixture
def expected(pristine: tuple[ConvertedImage, tree.Tree]) -> tree.Tree:
    """The tree of the undamaged image."""
    return pristine[1]


# Damage that digests give away

BLOBS = {
    "manifest": lambda image: image.digest,
    "bootstrap": lambda image: image.bootstrap_layer["digest"],
    "lower blob": lambda image: image.data_layers[0]["digest"],
    "upper blob": lambda image: image.data_layers[1]["digest"],
}


def injure(path: Path, injury: str) -> None:
    """Flips a bit of a blob's file, cuts it, or takes it away; its name stays right."""
    size = path.stat().st_size
    match injury:
        case "first byte" | "middle" | "last byte":
            damage.flip_file(path, {"first byte": 0, "middle": size // 2}.get(injury, size - 1))
        case "half":
            os.truncate(path, size // 2)
        case "one byte short":
            os.truncate(path, size - 1)
        case "one byte long":
            os.truncate(path, size + 1)
        case "empty":
            os.truncate(path, 0)
        case "missing":
            path.unlink()


INJURIES = ["first byte", "middle", "last byte", "half", "one byte short", "one byte long", "empty",
            "missing"]  # fmt: skip


@pytest.mark.parametrize("victim", BLOBS)
@pytest.mark.parametrize("injury", INJURIES)
def test_check_finds_damaged_blob(
    victim: str, injury: str, image: ConvertedImage, lazypull: Lazypull
) -> None:
    """Whatever is wrong with a blob, check says which one it is."""
    digest = BLOBS[victim](image)
    injure(image.layout.blob_path(digest), injury)
    lazypull.check(image.reference).assert_refused(short(digest), codes=EXIT_NAMED_CAUSES)


@pytest.mark.parametrize("victim", ["manifest", "bootstrap"])
@pytest.mark.parametrize("injury", INJURIES)
def test_mount_refuses_damaged_metadata(
    victim: str, injury: str, image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Metadata is verified before anything is mounted."""
    digest = BLOBS[victim](image)
    injure(image.layout.blob_path(digest), injury)
    result = lazypull.try_mount(image.reference, workspace / "cache")
    assert not isinstance(result, Mounted), "mounted on unverified metadata"
    result.assert_refused(short(digest))


# Damaged data, read through a mount


def first_chunk_of(image: ConvertedImage, layer: int) -> tuple[Path, int]:
    """The file and offset of a byte inside the first chunk of a layer's blob."""
    digest = image.data_layers[layer]["digest"]
    (blob,) = [b for b in image.bootstrap().blobs if b.identifier == oci.hexadecimal(digest)]
    chunk = min(image.chunks(blob), key=lambda chunk: chunk.compressed_offset)
    return image.layout.blob_path(digest), chunk.compressed_offset + chunk.compressed_size // 2


def direct_read(path: bytes) -> bytes:
    """One read request of 4 KiB: no page cache that would read ahead, or ask again."""
    buffer = mmap.mmap(-1, 4096)
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        return buffer[: os.preadv(descriptor, [buffer], 0)]
    finally:
        os.close(descriptor)


def naming(mounted: Mounted, name: str) -> list[str]:
    """The log's lines with a name in them."""
    return [line for line in mounted.log_lines() if name in line]


def test_corrupt_chunk(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """EIO for what the chunk holds, and a log line for each request; the rest is right."""
    path, offset = first_chunk_of(image, layer=0)
    damage.flip_file(path, offset)
    name = short(image.data_layers[0]["digest"])
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        large = os.path.join(os.fsencode(mounted.path), LARGE)
        for attempt in (1, 2):
            with pytest.raises(OSError) as failure:
                direct_read(large)
            assert failure.value.errno == errno.EIO
            wait_until(lambda: len(naming(mounted, name)) >= attempt, "a line that names the blob")
            time.sleep(FORGOTTEN)
            assert len(naming(mounted, name)) == attempt, mounted.log_lines()
            # Which bytes of the blob, and what is wrong with them.
            (line,) = naming(mounted, name)[attempt - 1 :]
            fields = dict(re.findall(r'(\w+)=("[^"]*"|\S+)', line))
            start, count = int(fields["offset"]), int(fields["bytes"])
            assert start <= offset < start + count <= path.stat().st_size
            assert fields["cause"].strip('"'), line
        bad = {path for path in expected if read_or_error(mounted.path, path, expected) == "error"}
    assert bad == {LARGE}


def test_repaired_chunk(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """What failed once is asked for again, by the same mount: nothing bad was kept."""
    path, offset = first_chunk_of(image, layer=0)
    damage.flip_file(path, offset)
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        with pytest.raises(OSError):
            direct_read(os.path.join(os.fsencode(mounted.path), LARGE))
        damage.flip_file(path, offset)
        time.sleep(FORGOTTEN)
        tree.assert_same(expected, tree.read(mounted.path))


@pytest.mark.parametrize("injury", ["half", "empty", "missing"])
def test_blob_is_cut(
    injury: str,
    image: ConvertedImage,
    expected: tree.Tree,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """A blob that ends early, or is gone, fails the reads that need it and no others."""
    injure(image.layout.blob_path(image.data_layers[0]["digest"]), injury)
    outcome = lazypull.try_mount(image.reference, workspace / "cache")
    if not isinstance(outcome, Mounted):
        outcome.assert_refused(short(image.data_layers[0]["digest"]))
        return
    with outcome as mounted:
        outcomes = {path: read_or_error(mounted.path, path, expected) for path in expected}
    assert "error" in outcomes.values()
    upper = {path for path in expected if path.startswith(b"many/")}
    assert all(outcomes[path] == "right" for path in upper)


def read_or_error(root: Path, path: bytes, expected: tree.Tree) -> str:
    """Reads a file of the expected tree: `right`, `error`, and a failed test for wrong bytes."""
    if expected[path].kind != "file":
        return "right"
    try:
        digest = tree.file_digest(os.path.join(os.fsencode(root), path))
    except OSError as error:
        assert error.errno == errno.EIO, f"{path!r}: {error}"
        return "error"
    assert digest == expected[path].digest, f"{path!r} has wrong bytes"
    return "right"


# Damage with every digest made right: what a hostile image brings


def test_republishing_is_harmless(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The tests below fail images for the damage, not for how it was signed."""
    boot = image.bootstrap().data
    again = damage.republish(image, "again", damage.bootstrap_members(boot))
    lazypull.check(again.reference).assert_done()
    with lazypull.mount(again.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, tree.read(mounted.path))


@pytest.mark.parametrize("seed", range(6))
def test_check_survives_hostile_bootstraps(
    seed: int, image: ConvertedImage, lazypull: Lazypull
) -> None:
    """Any answer will do, but it must be an answer. Truncation must not pass."""
    boot = image.bootstrap().data
    for name, data in damage.damaged_bootstraps(boot, seed, flips=25):
        damage.republish(image, "hostile", damage.bootstrap_members(data))
        result = lazypull.check(image.layout.reference("hostile"))
        if name.startswith("truncated"):
            assert result.code in EXIT_NAMED_CAUSES, (name, result)
        assert result.code in (EXIT_DONE, EXIT_FAILED, *EXIT_NAMED_CAUSES), (name, result)


@pytest.mark.parametrize("seed", range(100, 103))
def test_mount_survives_hostile_bootstraps(
    seed: int, image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The mount is refused, or serves what it can; the process outlives every look into it."""
    boot = image.bootstrap().data
    for number, (name, data) in enumerate(damage.damaged_bootstraps(boot, seed, flips=12)):
        hostile = damage.republish(image, "hostile", damage.bootstrap_members(data))
        outcome = lazypull.try_mount(hostile.reference, workspace / f"cache{number}")
        if not isinstance(outcome, Mounted):
            outcome.assert_refused()
            continue
        with outcome as mounted:
            explore(mounted.path)
            assert mounted.process.poll() is None, f"the mount died: {name}"


@pytest.mark.parametrize("member", [".blob.meta", ".blob.digest"])
def test_chunk_records_must_agree(
    member: str, image: ConvertedImage, lazypull: Lazypull
) -> None:
    """The copies of chunk tables beside the bootstrap must be those of the blobs."""
    members = image.bootstrap_members()
    name = next(name for name in sorted(members) if name.endswith(member))
    forged = damage.republish(image, "forged", {name: damage.flipped(members[name], 45)})
    lazypull.check(forged.reference).assert_refused(codes=EXIT_NAMED_CAUSES)


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
def test_blob_cut_and_signed(
    kept: float, image: ConvertedImage, lazypull: Lazypull
) -> None:
    """A blob without its tail, under a digest that fits it."""
    blob = image.layout.blob(image.data_layers[0]["digest"])
    cut = damage.republish_blob(image, "cut", 0, blob[: int(len(blob) * kept)])
    lazypull.check(cut.reference).assert_refused(codes=EXIT_NAMED_CAUSES)


@pytest.mark.parametrize("seed", range(3))
def test_blob_flipped_and_signed(
    seed: int,
    image: ConvertedImage,
    expected: tree.Tree,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """A flipped bit in a chunk is found by the chunk's own digest, and costs that chunk only."""
    digest = image.data_layers[0]["digest"]
    blob = image.layout.blob(digest)
    (entry,) = [b for b in image.bootstrap().blobs if b.identifier == oci.hexadecimal(digest)]
    chunk = random.Random(seed).choice(list(image.chunks(entry)))
    place = (chunk.compressed_offset + chunk.compressed_size // 2) * 8 + seed
    forged = damage.republish_blob(image, "forged", 0, damage.flipped(blob, place))
    lazypull.check(forged.reference).assert_refused(codes=EXIT_NAMED_CAUSES)
    with lazypull.mount(forged.reference, workspace / "cache") as mounted:
        outcomes = [read_or_error(mounted.path, path, expected) for path in expected]
    assert outcomes.count("error") == 1


def explore(root: Path, entries: int = 2000, largest: int = 4 * MEBIBYTE) -> None:
    """Looks at everything in a tree that may lie, up to a limit: it may also be endless."""
    for path in _some_paths(os.fsencode(root), entries):
        try:
            os.lstat(path)
            for name in os.listxattr(path, follow_symlinks=False):
                os.getxattr(path, name, follow_symlinks=False)
            if os.path.islink(path):
                os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb", buffering=0) as file:
                    file.read(largest)
                    file.seek(-min(4096, os.fstat(file.fileno()).st_size), os.SEEK_END)
                    file.read(4096)
        except (OSError, OverflowError):
            pass


def _some_paths(root: bytes, limit: int) -> Iterator[bytes]:
    pending, seen = [root], 0
    while pending and seen < limit:
        directory = pending.pop()
        try:
            names = os.listdir(directory)
        except OSError:
            continue
        for name in names[: limit - seen]:
            seen += 1
            path = os.path.join(directory, name)
            yield path
            if os.path.isdir(path) and not os.path.islink(path):
                pending.append(path)
