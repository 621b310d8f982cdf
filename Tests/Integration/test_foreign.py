# SPDX-License-Identifier: Apache-2.0
"""Images that other tools have made: what we read of them is what umoci unpacks."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import judges
import oci
import tree
from commands import Lazypull
from workspace import Workspace


@pytest.fixture
def foreign(fixtures: Path) -> oci.Layout:
    """One image in every tool's form, `latest` being the original."""
    return oci.Layout(fixtures / "foreign")


@pytest.fixture
def expected(foreign: oci.Layout, workspace: Workspace) -> tree.Tree:
    """umoci's tree, its directories' times left out: many have no entry in the tar."""
    return tree.without_directory_times(judges.umoci(foreign, "latest", workspace / "umoci"))


def test_convert(
    foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The original, converted by us."""
    target = oci.Layout(workspace / "target")
    image = lazypull.convert(foreign.reference("latest"), target, "lazy")
    lazypull.check(image.reference, "--against", foreign.reference("latest")).assert_done()
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, tree.without_directory_times(tree.read(mounted.path)))


def test_mount_nydus_image(
    foreign: oci.Layout, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A conversion by nydus-image 2.4, which keeps whole seconds only."""
    with lazypull.mount(foreign.reference("v6"), workspace / "cache") as mounted:
        actual = tree.without_directory_times(tree.read(mounted.path))
    tree.assert_same(tree.whole_seconds(expected), actual)


def test_check_nydus_image(foreign: oci.Layout, lazypull: Lazypull) -> None:
    """Its structure and its digests, BLAKE3 among them, are as they should be."""
    lazypull.check(foreign.reference("v6")).assert_done()


def test_damaged_nydus_image(
    foreign: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A flipped bit is found there as well."""
    shutil.copytree(foreign.path, workspace / "copy")
    copy = oci.Layout(workspace / "copy")
    digest = copy.manifest("v6")["layers"][0]["digest"]
    data = bytearray(copy.blob(digest))
    data[1000] ^= 1
    copy.blob_path(digest).write_bytes(data)
    lazypull.check(copy.reference("v6")).assert_refused(oci.hexadecimal(digest)[:12])
