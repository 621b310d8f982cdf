# SPDX-License-Identifier: Apache-2.0
"""One image, four witnesses: what umoci unpacks is what every reader of our conversion sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import judges
import oci
import scenarios
import tree
from cases import STACKS
from commands import Lazypull
from rafs import ConvertedImage
from workspace import Workspace, open_workspace


@dataclass(frozen=True)
class Case:
    """A stack, converted, beside the tree that it must give."""

    source: str
    image: ConvertedImage
    expected: tree.Tree


@pytest.fixture(scope="module", params=STACKS)
def case(request: pytest.FixtureRequest, binary: Path) -> Iterator[Case]:
    """Each stack is converted once, for all of this module's tests."""
    stack = STACKS[request.param]()
    with open_workspace() as workspace:
        layout = oci.Layout.create(workspace / "layout")
        stack.write(layout, "source")
        image = Lazypull(binary, workspace).convert(layout.reference("source"), layout, "lazy")
        yield Case(layout.reference("source"), image, judges.umoci_stack(stack, workspace))


def test_fuse_mount(case: Case, lazypull: Lazypull, workspace: Workspace) -> None:
    """Our own mount shows every path, attribute and byte."""
    with lazypull.mount(case.image.reference, workspace / "cache") as mounted:
        tree.assert_same(case.expected, tree.read(mounted.path))


def test_unpack(case: Case, lazypull: Lazypull, workspace: Workspace) -> None:
    """Laid out as files, every path, attribute and byte is there again."""
    unpacked = lazypull.unpack(case.image.reference, workspace / "unpacked")
    tree.assert_same(case.expected, tree.read(unpacked))


def test_kernel_erofs(case: Case, workspace: Workspace) -> None:
    """The kernel mounts the bootstrap over the unpacked blobs, and shows the same."""
    unpacked = case.image.unpack(workspace / "devices")
    with judges.mounted_erofs(unpacked, workspace / "erofs") as mounted:
        tree.assert_same(case.expected, tree.read(mounted))


def test_fsck_extract(case: Case, workspace: Workspace) -> None:
    """erofs-utils agrees on types, link targets and bytes."""
    unpacked = case.image.unpack(workspace / "devices")
    extracted = judges.fsck_extract(unpacked, workspace / "extracted")
    assert tree.contents(extracted) == tree.contents(case.expected)


def test_check_against_source(case: Case, lazypull: Lazypull) -> None:
    """check finds nothing to say, with and without the source at hand."""
    lazypull.check(case.image.reference).assert_done()
    lazypull.check(case.image.reference, "--against", case.source).assert_done()


def test_image_convention(case: Case) -> None:
    """The manifest says what Nydus expects, and each blob is what its digest names."""
    for layer in [*case.image.data_layers, case.image.bootstrap_layer]:
        blob = case.image.layout.blob(layer["digest"])
        assert (oci.sha256(blob), len(blob)) == (layer["digest"], layer["size"])
    data = [layer["digest"] for layer in case.image.data_layers]
    *diff_ids, _ = case.image.config["rootfs"]["diff_ids"]
    assert diff_ids == data
    known = {oci.hexadecimal(digest) for digest in data}
    assert {blob.identifier for blob in case.image.bootstrap().blobs} <= known


def test_empty_xattr_values(lazypull: Lazypull, workspace: Workspace) -> None:
    """An attribute with an empty value is not an attribute that is missing."""
    layout = oci.Layout.create(workspace / "layout")
    stack = scenarios.empty_xattr_values()
    stack.write(layout, "source")
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    lazypull.check(image.reference, "--against", layout.reference("source")).assert_done()
    expected = {entry.path: tuple(sorted(entry.xattrs.items())) for entry in stack.layers[0]}
    with (
        lazypull.mount(image.reference, workspace / "cache") as ours,
        judges.mounted_erofs(image.unpack(workspace / "devices"), workspace / "erofs") as kernels,
    ):
        for root in (ours.path, kernels):
            found = tree.read(root)
            assert {path: found[path].xattrs for path in expected} == expected
