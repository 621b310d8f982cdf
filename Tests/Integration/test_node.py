# SPDX-License-Identifier: Apache-2.0
"""Pods and containers of ordinary images, by every containerd."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import oci
from layers import Stack
from node import RELEASES, Node, Release
from scenarios import directory, file, symlink
from services import Registry
from workspace import Workspace

BUSYBOX = Path("/bin/busybox")


def busybox_image(layout: oci.Layout, tag: str, *more: list) -> None:
    """An image of a static busybox in two layers, and `more` layers above."""
    programs = [b"sh", b"sleep", b"cat", b"echo", b"ls", b"rm", b"sync", b"stat"]
    tars = Stack([
        [directory(b"bin"), file(b"bin/busybox", BUSYBOX.read_bytes(), mode=0o755)],
        [symlink(b"bin/" + name, b"busybox") for name in programs] + [directory(b"tmp")],
        *more,
    ]).tars()
    layers = [layout.put(gzip.compress(tar, 1), oci.OCI.layer_type(oci.Compression.GZIP)) for tar in tars]
    config = oci.image_config(
        [oci.sha256(tar) for tar in tars], Entrypoint=["/bin/sleep", "infinity"]
    )
    layout.put_image(tag, config, layers)


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_a_pod_runs(release: Release, workspace: Workspace) -> None:
    layout = oci.Layout.create(workspace / "layout")
    busybox_image(layout, "pause", [file(b"pause")])
    busybox_image(layout, "app", [file(b"greeting", b"hello\n"), directory(b"d")])
    registry = Registry(workspace)
    pause, app = registry.push(layout, "pause"), registry.push(layout, "app")
    node = Node(workspace, release, pause=pause)
    node.start_containerd()
    cri = node.cri()
    assert cri.pull(pause)
    image = cri.pull(app)
    with cri.pod("pod", node.directory("logs")) as pod:
        container = pod.start("app", image, "/bin/sh", "-c", "cat /greeting; echo x >/new; cat /new; exit 7")
        assert container.wait() == 7
        assert container.output() == "hello\nx\n"
    cri.remove_image(image)
    assert image not in cri.images()
