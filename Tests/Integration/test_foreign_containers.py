# SPDX-License-Identifier: Apache-2.0
"""Containers of images that Nydus' tools have converted, or have made an index over."""

from __future__ import annotations

from pathlib import Path

import pytest

import oci
import recorded
import tree
from commands import Lazypull
from node import CONTAINERD_16, Node
from test_lazy_snapshotter import LazyNode
from workspace import Workspace


class ForeignNode(LazyNode):
    """A node beside a registry with the image and one of its indexes."""

    options = ("--find-index", "referrers", "--find-index", "tag")

    def __init__(
        self, lazypull: Lazypull, workspace: Workspace, foreign: oci.Layout, tag: str
    ) -> None:
        self._foreign, self._tag = foreign, tag
        super().__init__(lazypull, workspace, CONTAINERD_16)

    def publish(self, lazypull: Lazypull, layout: oci.Layout, form: str) -> str:
        """Pushes image and index; what is pulled: the index, or the image that it refers to."""
        for tag in ("latest", self._tag):
            lazypull.run(
                "push", "--quiet", "--plain-http", self._foreign.reference(tag),
                f"docker://{self.registry.address}/foreign:{tag}",
            ).assert_done()  # fmt: skip
        pulled = "latest" if self._tag == "ref" else self._tag
        return f"{self.registry.address}/foreign:{pulled}"


def mount_container(node: Node) -> Path:
    """Mounts what the root of a container of the only image is: an overlay above the image's mount."""
    snapshots = ("snapshots", "--snapshotter", "lazypull")
    # Key, parent and kind, the parent being missing at the bottom.
    lines = node.ctr(*snapshots, "ls", namespace="k8s.io").splitlines()[1:]
    rows = [line.split() for line in lines if line]
    (top,) = {row[0] for row in rows} - {row[1] for row in rows}
    root = node.directory("container")
    node.ctr(*snapshots, "prepare", "container", top, namespace="k8s.io")
    node.run("sh", "-c", node.ctr(*snapshots, "mounts", root, "container", namespace="k8s.io"))
    return root


@pytest.mark.parametrize("tag", ["v6", "batch", "prefetch", "zran", "ref"])
def test_a_container_has_the_recorded_tree(
    tag: str, fixtures: Path, lazypull: Lazypull, workspace: Workspace
) -> None:
    """All are pulled by their tags but `ref`, which is found as what refers to the image."""
    lazy = ForeignNode(lazypull, workspace, oci.Layout(fixtures / "foreign"), tag)
    node = lazy.node
    node.cri().pull(lazy.app)
    assert lazy.cached() == 0
    assert ("found=tag" in lazy.log()) == (tag == "ref")
    root = mount_container(node)
    expected = recorded.foreign_tree(fixtures)
    tree.assert_same(expected, recorded.as_recorded(tree.read(node.see(root))))
    assert lazy.cached() > 0
    # A program of the container's sees the same bytes; the image has none of its own.
    name, size = max(
        (record.size, path) for path, record in expected.items() if record.kind == "file"
    )[::-1]
    output = node.ctr(
        "run", "--rm", "--snapshotter", "lazypull", "--mount",
        "type=bind,src=/bin/busybox,dst=/busybox,options=rbind:ro", lazy.app, "app",
        "/busybox", "stat", "-c", "%s", "/" + name.decode(), namespace="k8s.io",
    )  # fmt: skip
    assert output == f"{size}\n"
    lazy.service.terminate()
