# SPDX-License-Identifier: Apache-2.0
"""An index of `--keep-original`, for those who know nothing of converted images: the original."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

import judges
import oci
import tree
from commands import Lazypull
from layers import CAP_NET_RAW, Stack, capability
from scenarios import NOON, directory, file, hard_link, symlink
from services import Containerd, Registry
from workspace import Workspace, open_workspace


# What containerd itself keeps: trusted.* attributes and directories' times it does not.
LAYERS = [
    [
        directory(b"d", mode=0o1711, uid=7),
        file(b"d/f", b"content" * 100_000, mode=0o4755, xattrs={"user.u": b"\n\0"}),
        # containerd takes a file's attributes from the last of its names.
        replace(hard_link(b"link", b"d/f"), mode=0o4755, mtime_ns=NOON),
        symlink(b"symlink", b"d"),
        file(b"capable", xattrs={"security.capability": capability(CAP_NET_RAW)}),
        file(b"gone"),
    ],
    [file(b".wh.gone", b""), file(b"new", gid=42)],
]


@dataclass(frozen=True)
class Both:
    """An image, and the index of it and its conversion."""

    layout: oci.Layout
    # The name in the layout, and the same in an archive.
    reference: str
    archive: Path
    expected: tree.Tree

    @property
    def original(self) -> dict:
        """The original's descriptor in the index."""
        return self.layout.manifest("both")["manifests"][0]


@pytest.fixture(scope="module")
def both(binary: Path) -> Iterator[Both]:
    """Converted once, into the layout and into an archive."""
    with open_workspace() as workspace:
        layout = oci.Layout.create(workspace / "layout")
        stack = Stack(LAYERS)
        stack.write(layout, "source")
        lazypull = Lazypull(binary, workspace)
        archive = workspace / "both.tar"
        for target in (layout.reference("both"), f"oci-archive:{archive}:both"):
            lazypull.run(
                "convert", "--keep-original", layout.reference("source"), target
            ).assert_done()
        expected = tree.without_directory_times(judges.umoci_stack(stack, workspace))
        yield Both(layout, layout.reference("both"), archive, expected)


def assert_is_original(both: Both, containerd: Containerd, name: str, mount: Path) -> None:
    """containerd has unpacked the original under that name."""
    mount.mkdir()
    containerd.ctr("images", "mount", name, mount)
    try:
        tree.assert_same(both.expected, tree.without_directory_times(tree.read(mount)))
    finally:
        containerd.ctr("images", "unmount", mount)


def test_containerd_pulls_the_original(both: Both, workspace: Workspace) -> None:
    """From a registry that has both, Debian's containerd unpacks the original.

    It fetches whatever fits the platform, the conversion as well: it knows no artifactType.
    """
    name = Registry(workspace).push(both.layout, "both")
    containerd = Containerd(workspace)
    containerd.ctr("images", "pull", "--plain-http", name)
    assert both.original["digest"] in containerd.ctr("content", "ls", "-q").split()
    assert_is_original(both, containerd, name, workspace / "mount")


def test_containerd_imports_the_original(both: Both, workspace: Workspace) -> None:
    """From an archive as well."""
    containerd = Containerd(workspace)
    containerd.ctr("images", "import", "--base-name", "example.org/app", both.archive)
    assert_is_original(both, containerd, "example.org/app:both", workspace / "mount")


def test_skopeo_reads_the_original(both: Both, workspace: Workspace) -> None:
    """From layout, archive and registry."""
    name = Registry(workspace).push(both.layout, "both")
    layers = [layer["digest"] for layer in both.layout.manifest("source")["layers"]]
    for number, source in enumerate([
        both.reference, f"oci-archive:{both.archive}:both", f"docker://{name}"
    ]):  # fmt: skip
        result = subprocess.run(
            ["skopeo", "inspect", "--tls-verify=false", source], check=True, capture_output=True
        )
        assert json.loads(result.stdout)["Layers"] == layers
        copy = oci.Layout.create(workspace / f"copy{number}")
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", "--quiet",
             "--src-tls-verify=false", source, copy.reference("copy")],
            check=True,
        )  # fmt: skip
        assert copy.tags()["copy"]["digest"] == both.original["digest"]
