# SPDX-License-Identifier: Apache-2.0
"""Ordinary images through `lazypull serve-snapshotter`, by every containerd."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

import oci
from node import CONTAINERD_16, RELEASES, Node, Release
from scenarios import directory, file
from services import Registry
from test_node import busybox_image
from workspace import LIMIT, Workspace, wait_until


class Served:
    """A node whose containerd has our snapshotter, with an image in a registry."""

    def __init__(self, binary: Path, workspace: Workspace, release: Release) -> None:
        self.layout = layout = oci.Layout.create(workspace / "layout")
        busybox_image(layout, "pause", [file(b"pause")])
        busybox_image(layout, "app", [file(b"greeting", b"hello\n"), directory(b"d")])
        self.registry = registry = Registry(workspace)
        self.pause, self.app = registry.push(layout, "pause"), registry.push(layout, "app")
        self.socket, self.admin = workspace / "snapshotter", workspace / "admin"
        self.node = Node(
            workspace, release, pause=self.pause, snapshotter="lazypull", address=self.socket,
            snapshots=workspace / "root",
        )  # fmt: skip
        # Where a node with another root finds it, too.
        self.binary = Path(shutil.copy(binary, workspace / "lazypull"))
        with open(workspace / "log", "wb") as log:
            self.service = self.node.start(
                self.binary, "serve-snapshotter", "--config", "/dev/null",
                "--root", workspace / "root", "--address", self.socket,
                "--admin-address", self.admin, "--log-level", "debug",
                stdout=log, stderr=log,
            )  # fmt: skip
        wait_until(self.socket.exists, "the snapshotter")
        self.node.start_containerd()

    def status(self) -> dict:
        output = subprocess.run(
            [self.binary, "status", "--admin-address", self.admin, "--output", "json"],
            check=True, capture_output=True, timeout=LIMIT,
        ).stdout  # fmt: skip
        return json.loads(output)

    def wait_until_empty(self) -> None:
        """Waits until containerd has had all snapshots removed."""
        wait_until(lambda: not any(self.status()["snapshots"].values()), "snapshots to go")


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_a_pod_runs(release: Release, binary: Path, workspace: Workspace) -> None:
    served = Served(binary, workspace, release)
    cri = served.node.cri()
    assert cri.pull(served.pause)
    image = cri.pull(served.app)
    with cri.pod("pod", served.node.directory("logs")) as pod:
        container = pod.start(
            "app", image, "/bin/sh", "-c", "cat /greeting; echo x >/new; cat /new; exit 7"
        )
        assert container.wait() == 7
        assert container.output() == "hello\nx\n"
        assert served.status()["snapshots"]["active"] == 2
    cri.remove_image(image)
    wait_until(lambda: served.status()["snapshots"]["active"] == 0, "snapshots to go")


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_images_are_on_the_file_system_of_the_root(
    release: Release, binary: Path, workspace: Workspace
) -> None:
    """What kubelet watches the free space of, where containerd can be told.

    1.6 takes a snapshotter for a plug-in of its own, with a directory below containerd's root.
    """
    served = Served(binary, workspace, release)
    expected = workspace / "root"
    if release == CONTAINERD_16:
        expected = served.node.path / "root" / "io.containerd.snapshotter.v1.lazypull"
    assert served.node.cri().image_filesystems() == [str(expected)]


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_ctr_pulls_runs_commits_and_removes(
    release: Release, binary: Path, workspace: Workspace
) -> None:
    served = Served(binary, workspace, release)
    node = served.node
    local = [] if release == CONTAINERD_16 else ["--local"]
    node.ctr("images", "pull", *local, "--plain-http", "--snapshotter", "lazypull", served.app)
    run = ("run", "--rm", "--snapshotter", "lazypull", "--net-host")
    assert node.ctr(*run, served.app, "one", "/bin/cat", "/greeting") == "hello\n"
    node.ctr("snapshots", "--snapshotter", "lazypull", "prepare", "work",
             chain_id(served, node))  # fmt: skip
    mounts = node.ctr("snapshots", "--snapshotter", "lazypull", "mounts", "/mnt", "work")
    assert mounts.startswith("mount -t overlay overlay /mnt -o "), mounts
    node.ctr("snapshots", "--snapshotter", "lazypull", "commit", "mine", "work")
    info = json.loads(node.ctr("snapshots", "--snapshotter", "lazypull", "info", "mine"))
    assert info["Kind"] == "Committed"
    node.ctr("snapshots", "--snapshotter", "lazypull", "remove", "mine")
    node.ctr("images", "remove", "--sync", served.app)
    wait_until(lambda: served.status()["snapshots"]["committed"] == 0, "snapshots to go")
    calls = {(call["method"], call["code"]) for call in served.status()["calls"]}
    assert {("Prepare", "OK"), ("Commit", "OK"), ("Remove", "OK"), ("List", "OK")} <= calls


def chain_id(served: Served, node: Node) -> str:
    """The name of the image's highest layer among containerd's snapshots."""
    lines = node.ctr("snapshots", "--snapshotter", "lazypull", "list").splitlines()[1:]
    rows = [line.split() for line in lines]
    parents = {row[1] for row in rows if len(row) == 3}
    return next(row[0] for row in rows if row[-1] == "Committed" and row[0] not in parents)


def test_an_idle_service_sleeps(binary: Path, workspace: Workspace) -> None:
    served = Served(binary, workspace, CONTAINERD_16)
    node = served.node
    node.ctr("images", "pull", "--plain-http", "--snapshotter", "lazypull", served.app)
    children = Path(f"/proc/{served.service.pid}/task/{served.service.pid}/children").read_text()
    process = int(children.split()[0])

    def switches() -> int:
        total = 0
        for task in Path(f"/proc/{process}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches"):
                    total += int(line.split()[1])
        return total

    time.sleep(2)
    before = switches()
    time.sleep(5)
    # gRPC's two lists of timers each look at the clock every second, with nothing in them, too.
    assert switches() - before < 50
    anonymous = [
        int(line.split()[1])
        for line in Path(f"/proc/{process}/status").read_text().splitlines()
        if line.startswith("RssAnon")
    ]
    assert anonymous[0] < 40 << 10
