# SPDX-License-Identifier: Apache-2.0
"""The first layers of a converted image: what their blobs carry is the image of them alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import judges
import oci
import tree
from cases import STACKS
from commands import EXIT_NOT_FOUND, EXIT_UNSUPPORTED, EXIT_USAGE, Lazypull
from layers import Stack
from scenarios import file
from workspace import Workspace


@pytest.mark.parametrize("name", STACKS)
def test_prefix_is_the_conversion_of_the_prefix(
    name: str, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Of every number of layers; that conversions are right is what test_trees.py says."""
    stack = STACKS[name]()
    layout = oci.Layout.create(workspace / "layout")
    stack.write(layout, "source")
    whole = lazypull.convert(layout.reference("source"), layout, "whole").reference
    for count in range(1, len(stack.layers) + 1):
        compressions = stack.compressions and stack.compressions[:count]
        replace(stack, layers=stack.layers[:count], compressions=compressions).write(
            layout, "source"
        )
        alone = lazypull.convert(layout.reference("source"), layout, "alone").reference
        dumps = [
            lazypull.check(*arguments).assert_done().output
            for arguments in [(whole, "--dump", "--layers", str(count)), (alone, "--dump")]
        ]
        assert dumps[0] == dumps[1]
        lazypull.check(whole, "--layers", str(count)).assert_done()


@pytest.mark.parametrize("tag", ["v6", "prefetch", "batch"])
def test_layers_of_nydus(
    tag: str, fixtures: Path, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The layers of an image that nydus has converted merge as well, for every reader."""
    foreign = oci.Layout(fixtures / "foreign")
    original = foreign.manifest("latest")
    diff_ids = foreign.document(original["config"]["digest"])["rootfs"]["diff_ids"]
    twin = oci.Layout.create(workspace / "twin")
    for layer in original["layers"]:
        twin.blob_path(layer["digest"]).write_bytes(foreign.blob(layer["digest"]))
    for count in range(1, len(diff_ids) + 1):
        layers = ["--layers", str(count)]
        twin.put_image("first", oci.image_config(diff_ids[:count]), original["layers"][:count])
        unpacked = judges.umoci(twin, "first", workspace / f"umoci{count}")
        expected = tree.whole_seconds(tree.without_directory_times(unpacked))
        lazypull.check(foreign.reference(tag), *layers).assert_done()
        laid_out = lazypull.unpack(foreign.reference(tag), workspace / f"out{count}", *layers)
        tree.assert_same(expected, tree.without_directory_times(tree.read(laid_out)))
        with lazypull.mount(
            foreign.reference(tag), workspace / "cache", None, *layers
        ) as mounted:
            tree.assert_same(expected, tree.without_directory_times(tree.read(mounted.path)))


def test_wrong_numbers(lazypull: Lazypull, workspace: Workspace) -> None:
    """More layers than there are, none, and those of an image that is not converted."""
    layout = oci.Layout.create(workspace / "layout")
    STACKS["hard_links"]().write(layout, "source")
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    lazypull.check(image.reference, "--layers", "3").assert_refused(
        "it has 2 layers, not 3", codes=[EXIT_NOT_FOUND]
    )
    for options in (["--layers", "0"], ["--layers", "1", "--against", image.reference]):
        lazypull.check(image.reference, *options).assert_refused("layers", codes=[EXIT_USAGE])
    lazypull.check(layout.reference("source"), "--layers", "1").assert_refused("not a converted")


def test_dictionary_is_refused(lazypull: Lazypull, workspace: Workspace) -> None:
    """The blobs of a dictionary stand among those of the layers, and are none of them."""
    layout = oci.Layout.create(workspace / "layout")
    STACKS["chunk_boundaries"]().write(layout, "source")
    source = layout.reference("source")
    known = lazypull.convert(source, layout, "known")
    Stack([[file(b"new", b"new" * 1000)], *STACKS["chunk_boundaries"]().layers]).write(
        layout, "source"
    )
    image = lazypull.convert(source, layout, "lazy", "--chunk-dict", known.reference)
    assert len(image.data_layers) > 3
    for count in ("1", "2"):
        lazypull.check(image.reference, "--layers", count).assert_refused(
            "chunk dictionary", codes=[EXIT_UNSUPPORTED]
        )
