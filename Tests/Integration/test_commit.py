# SPDX-License-Identifier: Apache-2.0
"""What a container has written becomes an image, and that another container: as with overlayfs."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

import oci
from node import CONTAINERD_16, RELEASES, Node, Release
from test_snapshotter import Served
from workspace import Workspace

# All that a layer can say: new, changed, removed and replaced files, modes, owners, links.
CHANGES = """
set -e
b=/bin/busybox
echo new >/new
echo more >>/greeting
rm /bin/stat
$b rmdir /d && $b mkdir /d && echo inside >/d/file
$b ln -s file /d/link && $b ln /d/file /d/second
$b chmod 711 /tmp && $b chown 7:8 /new
$b mknod /d/pipe p
$b dd if=/dev/zero of=/large bs=65536 count=40 2>/dev/null
"""

# What the second container sees of that, without times.
LOOK = """
b=/bin/busybox
cat /new /greeting /d/file /d/second /d/link
$b stat -c '%n %F %a %u:%g %h %s' /new /greeting /tmp /d/file /d/pipe /large
$b find /bin /d | $b sort
$b sha256sum /large
"""


def entries(layer: bytes) -> dict[str, tuple]:
    """A layer's entries without their times."""
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        return {
            entry.name: (
                entry.type, entry.mode, entry.uid, entry.gid, entry.linkname, entry.size,
                tar.extractfile(entry).read() if entry.isreg() else b"",
            )
            for entry in tar
        }  # fmt: skip


def commit(served: Served, layer: bytes, tag: str) -> str:
    """Pushes the image with one more layer; where it is then."""
    layout = served.layout
    manifest = layout.manifest("app")
    config = layout.document(manifest["config"]["digest"])
    config["rootfs"]["diff_ids"].append(oci.sha256(gzip.decompress(layer)))
    config["history"].append({"created_by": "commit"})
    descriptor = layout.put(layer, oci.OCI.layer_type(oci.Compression.GZIP))
    layout.put_image(tag, config, [*manifest["layers"], descriptor])
    return served.registry.push(layout, tag)


def pull(node: Node, snapshotter: str, image: str) -> None:
    """Pulls an image as containerd's client does; newer ones leave it to containerd otherwise."""
    local = [] if node.release == CONTAINERD_16 else ["--local"]
    node.ctr("images", "pull", *local, "--plain-http", "--snapshotter", snapshotter, image)


def diff(node: Node, snapshotter: str, key: str, namespace: str = "default") -> bytes:
    """The layer that containerd makes of a container's writes."""
    output = node.path / f"{key}.tar.gz"
    # ctr prints the layer; the node's shell keeps it from being taken for text.
    node.run(
        "sh", "-c", 'exec ctr --address "$0" --namespace "$1" snapshots --snapshotter "$2"'
        ' diff --keep "$3" >"$4"', node.path / "socket", namespace, snapshotter, key, output,
    )  # fmt: skip
    return node.see(output).read_bytes()


def committed_with_ctr(served: Served, snapshotter: str) -> tuple[dict[str, tuple], str]:
    """The layer of a container's writes, and what a second container sees of them."""
    node = served.node
    run = ("run", "--snapshotter", snapshotter, "--net-host")
    pull(node, snapshotter, served.app)
    first = f"first-{snapshotter}"
    node.ctr(*run, served.app, first, "/bin/sh", "-c", CHANGES)
    layer = diff(node, snapshotter, first)
    image = commit(served, layer, f"committed-{snapshotter}")
    pull(node, snapshotter, image)
    second = f"second-{snapshotter}"
    seen = node.ctr(*run, "--rm", image, second, "/bin/sh", "-c", LOOK)
    # The first one's writes are its own still, and the image is as it was.
    untouched = node.ctr(*run, "--rm", served.app, "third", "/bin/cat", "/greeting")
    assert untouched == "hello\n"
    node.ctr("containers", "rm", first)
    for name in (image, served.app):
        node.ctr("images", "remove", "--sync", name)
    return entries(layer), seen


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_a_container_becomes_an_image(
    release: Release, binary: Path, workspace: Workspace
) -> None:
    served = Served(binary, workspace, release)
    layer, seen = committed_with_ctr(served, "lazypull")
    assert seen.startswith("new\nhello\nmore\ninside\ninside\ninside\n/new regular file"), seen
    assert "bin/.wh.stat" in layer
    expected_layer, expected_seen = committed_with_ctr(served, "overlayfs")
    assert seen == expected_seen
    assert layer == expected_layer
    served.wait_until_empty()


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_a_pods_container_becomes_an_image(
    release: Release, binary: Path, workspace: Workspace
) -> None:
    served = Served(binary, workspace, release)
    cri = served.node.cri()
    cri.pull(served.pause)
    app = cri.pull(served.app)
    with cri.pod("pod", served.node.directory("logs")) as pod:
        first = pod.start("first", app, "/bin/sh", "-c", CHANGES)
        assert first.wait() == 0, first.output()
        layer = diff(served.node, "lazypull", first.id, namespace="k8s.io")
        image = cri.pull(commit(served, layer, "committed"))
        second = pod.start("second", image, "/bin/sh", "-c", LOOK)
        assert second.wait() == 0
        seen = second.output()
    assert seen.startswith("new\nhello\nmore\ninside\ninside\ninside\n/new regular file"), seen
    cri.remove_image(image)
    cri.remove_image(app)
