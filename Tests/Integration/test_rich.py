# SPDX-License-Identifier: Apache-2.0
"""A real image with all that tar can hold laid over it: every witness sees what umoci unpacks."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import demo
import judges
import kernel
import oci
import rich
import tree
from commands import Lazypull
from rafs import ConvertedImage
from test_archives import decompressed
from workspace import Workspace, open_workspace

pytestmark = pytest.mark.limit(600)


@dataclass(frozen=True)
class RichCase:
    """The image, its conversion, and the trees of its first layers, by umoci's word."""

    layout: oci.Layout
    image: ConvertedImage
    # How many layers -> tree.
    prefixes: dict[int, tree.Tree]

    @property
    def expected(self) -> tree.Tree:
        """The whole image's tree."""
        return self.prefixes[max(self.prefixes)]


@pytest.fixture(scope="module")
def case(binary: Path) -> Iterator[RichCase]:
    """Made from the demo image, converted and unpacked once."""
    with open_workspace() as workspace:
        layout = oci.Layout(workspace / "layout")
        shutil.copytree(demo.layout().path, layout.path)
        over = rich.rich_layers(workspace.directory("files"))
        base = layout.manifest(demo.TAG)
        below = [decompressed(layout.blob(layer["digest"])) for layer in base["layers"]]
        put_image(layout, "source", base, [layer.tar for layer in over])
        image = Lazypull(binary, workspace).convert(layout.reference("source"), layout, "lazy")
        twins = below + [layer.twin for layer in over]
        put_image(layout, "twin", base, twins[len(below) :])
        # Unpacking six times is quicker in memory, where the kernel has user.* xattrs since 6.6.
        memory = workspace.directory("memory")
        kernel.mount_tmpfs(memory, 4 << 30)
        prefixes = {}
        for count in range(1, len(twins) + 1):
            keep_layers(layout, "twin", count)
            unpacked = judges.umoci(layout, "prefix", memory / "umoci")
            prefixes[count] = with_directory_times(unpacked, twins[:count])
            shutil.rmtree(memory / "umoci")
        yield RichCase(layout, image, prefixes)


def put_image(layout: oci.Layout, tag: str, base: dict, tars: list[bytes]) -> None:
    """Tags an image of the layers of `base` and those of the tars above."""
    layers = [layout.put(oci.Compression.GZIP.apply(tar), oci.OCI.layer_type(oci.Compression.GZIP)) for tar in tars]
    diff_ids = layout.document(base["config"]["digest"])["rootfs"]["diff_ids"]
    config = oci.image_config(diff_ids + [oci.sha256(tar) for tar in tars])
    layout.put_image(tag, config, base["layers"] + layers)


def keep_layers(layout: oci.Layout, tag: str, count: int) -> None:
    """Tags the image of the first layers as `prefix`."""
    manifest = layout.manifest(tag)
    diff_ids = layout.document(manifest["config"]["digest"])["rootfs"]["diff_ids"]
    layout.put_image("prefix", oci.image_config(diff_ids[:count]), manifest["layers"][:count])


def with_directory_times(unpacked: tree.Tree, tars: list[bytes]) -> tree.Tree:
    """umoci's tree, but for directories' times, of which it is no judge: an entry's, or 0."""
    times = rich.directory_times(tars)
    return {
        path: replace(record, mtime_ns=times.get(path, 0)) if record.kind == "directory" else record
        for path, record in unpacked.items()
    }


def test_image_is_worth_the_name(case: RichCase) -> None:
    """umoci has unpacked what the comparisons below are about."""
    expected, kinds = case.expected, case.prefixes[4]
    assert expected[b"rich/blank"].mode == expected[b"rich/blank"].mtime_ns == 0
    assert kinds[b"rich/t/8"].mtime_ns == 8_000_000_000_999_999_999
    assert len(kinds[b"rich/x/binary"].xattrs) == 2
    assert dict(kinds[b"rich/x/lines"].xattrs)["user.lines"] == b"1=2\n12 path=x\n\0\n"
    assert {name for name, _ in kinds[b"rich/x/acl"].xattrs} == {
        "system.posix_acl_access", "system.posix_acl_default"
    }  # fmt: skip
    assert kinds[b"rich/l/nor/here/link"].same_inode_as == b"rich/l/no/entry/target"
    for form in rich.SPARSE_FORMATS:
        top = b"rich/" + form.encode()
        assert expected[top + b"/many"].same_inode_as == top + b"/link"
        assert expected[top + b"/many"].size == 8_000_001
    assert expected[b"rich/other-name"].digest != expected[b"rich/name"].digest
    assert expected[b"usr/bin/through-link"].kind == "file"
    assert b"usr/share/zoneinfo" not in expected and b"rich/x/acl" not in expected


def test_check_against_source(case: RichCase, lazypull: Lazypull) -> None:
    """Every attribute and byte, by our own second reading."""
    source = case.layout.reference("source")
    lazypull.check(case.image.reference, "--against", source).assert_done()


def test_kernel_erofs(case: RichCase, workspace: Workspace) -> None:
    """The kernel mounts the bootstrap over the blobs, one device each."""
    unpacked = case.image.unpack(workspace / "devices")
    assert len(unpacked.devices) == len(case.prefixes)
    with judges.mounted_erofs(unpacked, workspace / "erofs") as mounted:
        tree.assert_same(case.expected, tree.read(mounted))


def test_fuse_mount(case: RichCase, lazypull: Lazypull, workspace: Workspace) -> None:
    """Our own mount."""
    with lazypull.mount(case.image.reference, workspace / "cache") as mounted:
        tree.assert_same(case.expected, tree.read(mounted.path))


def test_unpack(case: RichCase, lazypull: Lazypull, workspace: Workspace) -> None:
    """Laid out as files."""
    unpacked = lazypull.unpack(case.image.reference, workspace / "unpacked")
    tree.assert_same(case.expected, tree.read(unpacked))


@pytest.mark.parametrize("count", range(1, 6))
def test_prefix(count: int, case: RichCase, lazypull: Lazypull, workspace: Workspace) -> None:
    """The bootstraps that the first blobs carry merge to the image of these layers alone."""
    assert len(case.prefixes) == 6
    with lazypull.mount(
        case.image.reference, workspace / "cache", None, "--layers", str(count)
    ) as mounted:
        tree.assert_same(case.prefixes[count], tree.read(mounted.path))
