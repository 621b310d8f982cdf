# SPDX-License-Identifier: Apache-2.0
"""What containers of converted images do that would fetch all of an image elsewhere."""

from __future__ import annotations

import io
import random
import tarfile

import pytest

from commands import Lazypull
from node import Release
from scenarios import directory, file
from test_commit import diff
from test_lazy_snapshotter import RELEASES, LazyNode
from workspace import Workspace

FILES = {f"many/{number}": random.Random(number).randbytes(20_000) for number in range(200)}


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_a_change_of_owner_fetches_nothing_and_is_exported_whole(
    release: Release, lazypull: Lazypull, workspace: Workspace
) -> None:
    extra = [directory(b"many")] + [file(name.encode(), data) for name, data in FILES.items()]
    lazy = LazyNode(lazypull, workspace, release, extra=extra)
    cri = lazy.node.cri()
    cri.pull(lazy.pause)
    image = cri.pull(lazy.app)
    with cri.pod("pod", lazy.node.directory("logs")) as pod:
        # What the program itself needs is here then.
        assert pod.start("warm", image, "/bin/busybox", "chown", "0:0", "/tmp").wait() == 0
        before = lazy.cached()
        container = pod.start("app", image, "/bin/busybox", "chown", "-R", "1000:1001", "/many")
        assert container.wait() == 0
        assert lazy.cached() == before
        layer = diff(lazy.node, "lazypull", container.id, "k8s.io")
    found = {}
    with tarfile.open(fileobj=io.BytesIO(layer), mode="r:gz") as tar:
        for entry in tar:
            # The runtime makes files, too, to mount others at.
            if entry.isfile() and entry.name.startswith("many/"):
                assert (entry.uid, entry.gid) == (1000, 1001)
                found[entry.name] = tar.extractfile(entry).read()
    assert found == FILES


@pytest.mark.parametrize("release", RELEASES[1:], ids=lambda release: release.suite)
def test_a_user_namespace_fetches_no_more(
    release: Release, lazypull: Lazypull, workspace: Workspace
) -> None:
    """containerd gives all files to the namespace's users in a layer of its own, before the start."""
    lazy = LazyNode(lazypull, workspace, release)
    node = lazy.node
    node.cri().pull(lazy.app)

    def start(name: str, *options: str) -> str:
        script = "cat /greeting; echo x >/new; stat -c '%u %g' / /greeting /new"
        return node.ctr(
            "run", "--rm", "--snapshotter", "lazypull", *options, lazy.app, name,
            "/bin/sh", "-c", script, namespace="k8s.io",
        )  # fmt: skip

    expected = "hello\n" + 3 * "0 0\n"
    assert start("plain") == expected
    before = lazy.cached()
    mapping = "0:100000:65536"
    output = start("mapped", "--uidmap", mapping, "--gidmap", mapping, "--remap-labels")
    assert output == expected
    assert lazy.cached() == before
    lazy.service.terminate()
