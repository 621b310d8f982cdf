# SPDX-License-Identifier: Apache-2.0
"""The judges judged: what the other tests rest on, without the program under test."""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

import damage
import generator
import judges
import layers
import oci
import rafs
import recorded
import tree
from cases import RANDOM_SEEDS, STACKS
from layers import MergedTree
from tarball import Dialect, Kind
from workspace import Workspace

TREE_KINDS = {
    Kind.REGULAR: "file",
    Kind.SYMLINK: "symlink",
    Kind.CHARACTER_DEVICE: "character device",
    Kind.BLOCK_DEVICE: "block device",
    Kind.DIRECTORY: "directory",
    Kind.FIFO: "fifo",
}


@pytest.mark.parametrize("name", STACKS)
def test_model_and_umoci_agree(name: str, workspace: Workspace) -> None:
    """The merged tree that the generator keeps has the paths and types that umoci unpacks."""
    stack = STACKS[name]()
    merged = MergedTree()
    for entries in stack.layers:
        merged.begin_layer()
        for entry in entries:
            merged.apply(entry)
    unpacked = judges.umoci_stack(stack, workspace)
    assert {path: record.kind for path, record in unpacked.items()} == {
        path: TREE_KINDS[node.kind] for path, node in merged.nodes.items()
    }


def test_random_stacks_hold_everything() -> None:
    """The seeds in use reach every kind of entry and every way to write and store it."""
    stacks = [generator.random_stack(seed) for seed in RANDOM_SEEDS]
    entries = [entry for stack in stacks for layer in stack.layers for entry in layer]
    names = {entry.path.rpartition(b"/")[2] for entry in entries}
    assert {entry.kind for entry in entries} == set(Kind)
    assert {Dialect.PAX, Dialect.GNU} <= {entry.dialect for entry in entries}
    assert {way for stack in stacks for way in stack.compressions} == set(oci.Compression)
    assert {stack.types for stack in stacks} == {oci.OCI, oci.DOCKER}
    assert layers.OPAQUE_MARKER in names
    assert any(
        name.startswith(layers.WHITEOUT_PREFIX) and name != layers.OPAQUE_MARKER for name in names
    )
    assert {key for entry in entries for key in entry.xattrs} >= {
        "security.capability",
        "system.posix_acl_access",
        "system.posix_acl_default",
        "user.binary",
        "trusted.lazypull",
    }


def test_a_seed_is_a_stack() -> None:
    """The same seed gives the same bytes, another seed others."""
    assert generator.random_stack(1).tars() == generator.random_stack(1).tars()
    assert generator.random_stack(1).tars() != generator.random_stack(2).tars()


def test_differences_name_every_attribute(workspace: Workspace) -> None:
    """No attribute of a record can change unnoticed."""
    (workspace / "f").write_bytes(b"x")
    before = tree.read(workspace.path)
    for attribute in fields(tree.Record):
        changed = replace(before[b"f"], **{attribute.name: 4711})
        (line,) = tree.differences(before, {**before, b"f": changed})
        assert line.startswith(f"f: {attribute.name} ")
    assert tree.differences(before, {b".": before[b"."]}) == ["f: missing (file)"]
    assert tree.differences({b".": before[b"."]}, before) == ["f: unexpected (file)"]


def test_walk_agrees_with_recorded_tree(fixtures: Path, workspace: Workspace) -> None:
    """umoci's unpacking of the foreign image, read by us, is the tree recorded with it."""
    unpacked = judges.umoci(oci.Layout(fixtures / "foreign"), "latest", workspace / "umoci")
    tree.assert_same(recorded.foreign_tree(fixtures), recorded.as_recorded(unpacked))


def test_kernel_mounts_what_nydus_converted(fixtures: Path, workspace: Workspace) -> None:
    """Our unpacking of nydus' blobs makes devices from which EROFS shows umoci's tree.

    umoci is no judge of directories' times (see Stack.directory_mtimes), so they stay out; and
    nydus drops fractions of a second.
    """
    layout = oci.Layout(fixtures / "foreign")
    unpacked = rafs.ConvertedImage(layout, "v6").unpack(workspace / "devices")
    expected = judges.umoci(layout, "latest", workspace / "umoci")
    with judges.mounted_erofs(unpacked, workspace / "erofs") as mounted:
        actual = tree.read(mounted)
    tree.assert_same(
        tree.whole_seconds(tree.without_directory_times(expected)),
        tree.without_directory_times(actual),
    )
    extracted = judges.fsck_extract(unpacked, workspace / "extracted")
    assert tree.contents(extracted) == tree.contents(expected)


def test_signed_damage_reads_like_the_original(fixtures: Path, workspace: Workspace) -> None:
    """A bootstrap layer made anew, and a blob under another name, still make the same devices."""
    shutil.copytree(fixtures / "foreign", workspace / "layout")
    image = rafs.ConvertedImage(oci.Layout(workspace / "layout"), "v6")
    expected = [tree.file_digest(path) for path in image.unpack(workspace / "before").devices]
    boot = image.bootstrap().data
    blob = image.layout.blob(image.data_layers[0]["digest"])
    for number, again in enumerate([
        damage.republish(image, "again", damage.bootstrap_members(boot)),
        damage.republish_blob(image, "renamed", 0, blob + b"\0"),
    ]):  # fmt: skip
        assert again.digest != image.digest
        unpacked = again.unpack(workspace / f"after{number}")
        assert [tree.file_digest(path) for path in unpacked.devices] == expected
