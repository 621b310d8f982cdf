# SPDX-License-Identifier: Apache-2.0
"""What convert's options change, and what they must not."""

from __future__ import annotations

import random

import pytest

import judges
import oci
import scenarios
import tree
from commands import EXIT_LIMIT_EXCEEDED, Lazypull
from workspace import LIMIT, Workspace

OPTIONS = [
    ("--chunk-size", "4K"),
    ("--chunk-size", "64K", "--compression-level", "19"),
    ("--chunk-size", "16M"),
    ("--compressor", "none"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_options_change_no_file(
    options: tuple[str, ...], workspace: Workspace, lazypull: Lazypull
) -> None:
    """Chunks of every size, compressed or not: the kernel, our mount and check see the same tree."""
    stack = scenarios.chunk_boundaries()
    layout = oci.Layout.create(workspace / "layout")
    stack.write(layout, "source")
    source = layout.reference("source")
    image = lazypull.convert(source, layout, "lazy", *options)
    lazypull.check(image.reference, "--against", source).assert_done()
    expected = judges.umoci_stack(stack, workspace)
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
    unpacked = image.unpack(workspace / "devices")
    with judges.mounted_erofs(unpacked, workspace / "erofs") as mounted_path:
        tree.assert_same(expected, tree.read(mounted_path))


def test_strict_refuses_what_cannot_be_kept(workspace: Workspace, lazypull: Lazypull) -> None:
    """An attribute outside of EROFS' namespaces: a warning that names it, or with --strict the end."""
    stack = scenarios.Stack([[scenarios.file(b"f", b"x", xattrs={"system.unknown": b"v"})]])
    layout = oci.Layout.create(workspace / "layout")
    stack.write(layout, "source")
    source = layout.reference("source")
    result = lazypull.run("convert", source, layout.reference("lazy"))
    result.assert_done()
    assert "f: xattr system.unknown cannot be stored" in result.errors
    refused = lazypull.run("convert", "--strict", source, layout.reference("strict"))
    refused.assert_refused("system.unknown", codes=[68])
    assert "strict" not in layout.tags()


@pytest.mark.parametrize(
    "limit", [("--max-entries", "2"), ("--max-depth", "1"), ("--max-chunks", "1")], ids=" ".join
)
def test_limits_hold_for_what_an_image_is_compared_with(
    limit: tuple[str, ...], workspace: Workspace, lazypull: Lazypull
) -> None:
    """The source is hostile input for check --against as it is for convert."""
    entries = [scenarios.file(f"a/b/{name}".encode(), b"x" * 5000) for name in "cd"]
    layout = oci.Layout.create(workspace / "layout")
    scenarios.Stack([entries]).write(layout, "source")
    source = layout.reference("source")
    image = lazypull.convert(source, layout, "lazy", "--chunk-size", "4K")
    lazypull.check(image.reference, "--against", source).assert_done()
    refused = lazypull.check(image.reference, "--against", source, *limit)
    refused.assert_refused(f"than {limit[1]}", codes=[EXIT_LIMIT_EXCEEDED])


def test_the_report_tells_sizes_duplicates_and_times(
    workspace: Workspace, lazypull: Lazypull
) -> None:
    """Its numbers add up: pieces of content, their bytes, and stages within the whole time."""
    noise = random.Random(3).randbytes(200_000)
    layout = oci.Layout.create(workspace / "layout")
    scenarios.Stack([
        [scenarios.file(b"one", noise), scenarios.file(b"two", noise)], [],
    ]).write(layout, "source")  # fmt: skip
    report = lazypull.run(
        "convert", "-o", "json", "--chunk-size", "64K", layout.reference("source"),
        layout.reference("lazy"),
    ).document()  # fmt: skip
    layer, empty = report["layers"]
    assert (layer["chunks"], layer["deduplicatedChunks"], layer["dictionaryChunks"]) == (4, 4, 0)
    assert (layer["contentSize"], layer["deduplicatedSize"]) == (400_000, 200_000)
    assert empty["contentSize"] == empty["chunks"] == 0
    assert layer["ratio"] == pytest.approx(layer["blob"]["size"] / layer["source"]["size"])
    stored = [report["bootstrap"]["size"], *(entry["blob"]["size"] for entry in report["layers"])]
    assert report["storedSize"] == sum(stored)
    stages = report["stages"]
    assert stages.keys() == {"layers", "merge", "bootstrap", "documents", "total"}
    parts = sum(seconds for stage, seconds in stages.items() if stage != "total")
    assert stages["total"] == pytest.approx(parts) and stages["total"] <= report["seconds"]
    assert layer["stages"].keys() == {"read", "wait", "write", "digest", "compress"}
    assert all(0 <= seconds < LIMIT for seconds in layer["stages"].values())
    own = sum(layer["stages"][stage] for stage in ("read", "wait", "write"))
    assert 0 < own <= stages["layers"]
