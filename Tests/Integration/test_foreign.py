# SPDX-License-Identifier: Apache-2.0
"""Images that other tools have made: what we read of them is what is recorded beside them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import oci
import recorded
import tree
from commands import EXIT_FAILED, EXIT_UNSUPPORTED, Lazypull, Result
from tarball import NANOSECOND
from workspace import Workspace


@pytest.fixture
def foreign(fixtures: Path) -> oci.Layout:
    """One image in every tool's form, `latest` being the original."""
    return oci.Layout(fixtures / "foreign")


@pytest.fixture
def expected(fixtures: Path) -> tree.Tree:
    """The recorded tree; test_harness.py holds it against umoci."""
    return recorded.foreign_tree(fixtures)


def test_convert(
    foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The original, converted by us."""
    target = oci.Layout(workspace / "target")
    image = lazypull.convert(foreign.reference("latest"), target, "lazy")
    lazypull.check(image.reference, "--against", foreign.reference("latest")).assert_done()
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, recorded.as_recorded(tree.read(mounted.path)))
    unpacked = lazypull.unpack(image.reference, workspace / "unpacked")
    tree.assert_same(expected, recorded.as_recorded(tree.read(unpacked)))


# What nydus' own tools made of it, RAFS v6 in all its forms.
NYDUS_TAGS = ["v6", "prefetch", "batch", "zran", "ref"]


@pytest.mark.parametrize("tag", NYDUS_TAGS)
def test_check_of_nydus_image(tag: str, foreign: oci.Layout, lazypull: Lazypull) -> None:
    """Every digest is right, and the one difference from the original is nydus' own."""
    lazypull.check(foreign.reference(tag)).assert_done()
    result = lazypull.check(foreign.reference(tag), "--against", foreign.reference("latest"))
    assert result.code == EXIT_FAILED, result
    *differences, _summary = result.output.splitlines()
    assert len(differences) == 1, result
    assert re.match(r"/opt/w/nanos: mtime is \d+\.000000000, ", differences[0]), result


@pytest.mark.parametrize("tag", NYDUS_TAGS)
def test_mount_of_nydus_image(
    tag: str, foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Mounted, it is what is recorded; and again, from what the cache has kept."""
    for _ in range(2):
        with lazypull.mount(foreign.reference(tag), workspace / "cache") as mounted:
            tree.assert_same(expected, recorded.as_recorded(tree.read(mounted.path)))


@pytest.mark.parametrize("tag", NYDUS_TAGS)
def test_unpack_of_nydus_image(
    tag: str, foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Laid out as files, it is what is recorded."""
    unpacked = lazypull.unpack(foreign.reference(tag), workspace / "unpacked")
    tree.assert_same(expected, recorded.as_recorded(tree.read(unpacked)))


def test_batches_are_fetched_once(
    foreign: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The members of a batch come with the first of them that is read."""
    with lazypull.mount(foreign.reference("batch"), workspace / "cache") as mounted:
        tree.read(mounted.path)
        # 357 chunks, of which the batches hold all but the large ones.
        assert mounted.statistics()["fetches"] < 60


def test_the_referrer_of_an_image_is_found(
    foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Of the original, what `ref` says of it, which names it as its subject."""
    lazypull.check(foreign.reference("latest")).assert_done()
    with lazypull.mount(foreign.reference("latest"), workspace / "cache") as mounted:
        tree.assert_same(expected, recorded.as_recorded(tree.read(mounted.path)))


# What this version does not read, and the word for it in the message.
REFUSALS = {
    "estargz": "not a converted image",
    "zstdchunked": "not a converted image",
}


@pytest.mark.parametrize("tag", REFUSALS)
def test_other_forms_are_refused(
    tag: str, foreign: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """An image that this version does not read is called neither corrupt nor clean."""
    for result in (
        lazypull.check(foreign.reference(tag)),
        lazypull.run("unpack", foreign.reference(tag), workspace / "unpacked"),
        lazypull.try_mount(foreign.reference(tag), workspace / "cache"),
    ):
        assert isinstance(result, Result), "mounted what cannot be verified"
        result.assert_refused(REFUSALS[tag], codes=[EXIT_UNSUPPORTED])
    assert not (workspace / "unpacked").exists()


@pytest.mark.parametrize("tag", NYDUS_TAGS)
def test_dump_of_nydus_image(
    tag: str, foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull
) -> None:
    """nydus' metadata hold what is recorded."""
    dump = lazypull.check(foreign.reference(tag), "--dump").assert_done().output
    lines = [line.split(" ") for line in dump.splitlines() if line.startswith("/")]
    dumped = {unescaped(path)[1:] or b".": words for path, *words in lines}
    assert dumped.keys() == expected.keys()
    for path, record in expected.items():
        kind, *words = dumped[path]
        if kind == "hardlink":
            continue
        mode, owner, mtime, *rest = words
        assert (int(mode, 8), owner) == (record.mode, f"{record.uid}:{record.gid}"), path
        # No directories' times are recorded, and nydus drops fractions of a second.
        if record.kind != "directory":
            assert mtime == f"{record.mtime_ns // NANOSECOND}.000000000", path
        if record.kind == "file":
            assert f"size={record.size}" in rest, path
        if record.kind == "symlink":
            (target,) = [word for word in rest if word.startswith("target=")]
            assert unescaped(target.removeprefix("target=")) == record.target
        if record.rdev:
            assert f"device={record.rdev[0]}:{record.rdev[1]}" in rest, path
        assert len([word for word in rest if word.startswith("xattr=")]) == len(record.xattrs)


def unescaped(path: str) -> bytes:
    """A name as the dump writes it."""
    plain = re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(int(match[1], 16)), path)
    return plain.encode("latin-1")
