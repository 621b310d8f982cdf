# SPDX-License-Identifier: Apache-2.0
"""Containers of converted images, which `lazypull serve-snapshotter` provides and nobody pulls."""

from __future__ import annotations

import hashlib
import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import rpc

import oci
from commands import Lazypull
from node import CONTAINERD_16, CONTAINERD_17, CONTAINERD_21, Node, Release
from rafs import ConvertedImage
from scenarios import directory, file
from services import Registry
from test_node import busybox_image
from workspace import Workspace, wait_until

# Read by nobody in the container: fetched whole it would show.
BALLAST = random.Random(1).randbytes(4 << 20)

RELEASES = [CONTAINERD_16, CONTAINERD_17, CONTAINERD_21]


class LazyNode:
    """A node whose containerd has our snapshotter, with a converted image in a registry."""

    # More options of the service's.
    options: Sequence[str | Path] = ()

    def __init__(
        self, lazypull: Lazypull, workspace: Workspace, release: Release, form: str = "rafs",
        *, extra: Sequence = (),
    ) -> None:
        """Pushes the image, with more entries of an archive in its last layer, and starts all."""
        layout = oci.Layout.create(workspace / "layout")
        busybox_image(layout, "pause", [file(b"pause")])
        busybox_image(
            layout, "source",
            [file(b"greeting", b"hello\n"), directory(b"d"), file(b"ballast", BALLAST), *extra],
        )  # fmt: skip
        self.registry = Registry(workspace)
        self.pause = self.registry.push(layout, "pause")
        self.app = self.publish(lazypull, layout, form)
        self.root, self.socket = workspace / "root", workspace / "snapshotter"
        self.admin, self.path = workspace / "admin", workspace.path
        self.node = Node(
            workspace, release, pause=self.pause, snapshotter="lazypull", address=self.socket,
            snapshots=self.root,
        )  # fmt: skip
        # Where a node with another root finds it, too.
        self.binary = Path(shutil.copy(lazypull.binary, workspace / "lazypull"))
        self.start()
        self.node.start_containerd()

    def publish(self, lazypull: Lazypull, layout: oci.Layout, form: str) -> str:
        """Pushes what is pulled later; its name."""
        app = f"{self.registry.address}/app:lazy"
        if form == "zran":
            lazypull.run(
                "convert", "--quiet", "--format", "zran", layout.reference("source")
            ).assert_done()
            (index,) = layout.untagged()
            layout.set_tag("lazy", {name: index[name] for name in ("mediaType", "digest", "size")})
            self.image = ConvertedImage(layout, "lazy")
            # Where its data is; Debian's skopeo takes no artifacts, so the index goes by itself.
            self.registry.push(layout, "source")
        else:
            self.image = lazypull.convert(layout.reference("source"), layout, "lazy")
        lazypull.run(
            "push", "--quiet", "--plain-http", self.image.reference, f"docker://{app}"
        ).assert_done()
        return app

    def command(self, *words: str | Path) -> tuple[list[str | Path], dict]:
        """How a command is started as a service, with options of `Popen`."""
        return list(words), {}

    def start(self) -> None:
        """Starts the snapshotter."""
        self.socket.unlink(missing_ok=True)
        with open(self.path / "log", "ab") as log:
            command, options = self.command(
                self.binary, "serve-snapshotter", "--config", "/dev/null", "--plain-http",
                "--root", self.root, "--address", self.socket, "--admin-address", self.admin,
                "--log-level", "debug", *self.options,
            )  # fmt: skip
            self.service = self.node.start(*command, stdout=log, stderr=log, **options)
        wait_until(self.socket.exists, "the snapshotter")

    def restart(self) -> None:
        """Kills the snapshotter and starts it again; containerd tries again after a second or so."""
        self.node.kill(self.service)
        self.start()
        wait_until(self.is_connected, "containerd to connect again")

    def is_connected(self) -> bool:
        """Whether containerd reaches the snapshotter."""
        try:
            self.node.ctr("snapshots", "--snapshotter", "lazypull", "ls", namespace="k8s.io")
        except AssertionError:
            time.sleep(0.2)
            return False
        return True

    def log(self) -> str:
        return (self.path / "log").read_text(errors="replace")

    def cached(self) -> int:
        """The bytes on disk of what was fetched."""
        blobs = self.root / "cache" / "blobs"
        return sum(path.stat().st_blocks * 512 for path in blobs.glob("*/data"))


def run(node: Node, image: str, name: str, script: str) -> str:
    """What a shell prints in a container of the image."""
    logs = node.directory(f"logs-{name}")
    with node.cri().pod(f"pod-{name}", logs) as pod:
        container = pod.start(name, image, "/bin/sh", "-c", script)
        assert container.wait() == 0
        return container.output()


@pytest.mark.parametrize("release", RELEASES[:2], ids=lambda release: release.suite)
def test_a_container_starts_from_the_layers_of_an_image(
    release: Release, lazypull: Lazypull, workspace: Workspace
) -> None:
    """By an index over it, which is pulled in its place: the layers themselves are not."""
    lazy = LazyNode(lazypull, workspace, release, form="zran")
    cri = lazy.node.cri()
    cri.pull(lazy.pause)
    image = cri.pull(lazy.app)
    assert lazy.cached() == 0
    script = "cat /greeting; echo x >/new; cat /new; stat -c %s /ballast; md5sum /ballast"
    output = run(lazy.node, image, "app", script)
    digest = hashlib.md5(BALLAST).hexdigest()
    assert output == f"hello\nx\n{len(BALLAST)}\n{digest}  /ballast\n"
    lazy.restart()
    assert run(lazy.node, image, "again", "cat /greeting") == "hello\n"
    cri.remove_image(image)
    wait_until(lambda: lazy.cached() == 0, "the cache to be freed")
    lazy.service.terminate()


@pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.suite)
def test_a_container_starts_from_an_image_that_was_never_pulled(
    release: Release, lazypull: Lazypull, workspace: Workspace
) -> None:
    lazy = LazyNode(lazypull, workspace, release)
    cri = lazy.node.cri()
    cri.pull(lazy.pause)
    image = cri.pull(lazy.app)
    # Not one byte of a data blob for the pull.
    assert lazy.cached() == 0
    assert lazy.log().count("layer provided") == len(lazy.image.manifest["layers"])
    content = lazy.node.see(lazy.node.path / "root/io.containerd.content.v1.content/blobs/sha256")
    for layer in lazy.image.manifest["layers"]:
        assert not (content / oci.hexadecimal(layer["digest"])).exists()
    output = run(
        lazy.node, image, "app", "cat /greeting; echo x >/new; cat /new; stat -c %s /ballast"
    )
    assert output == f"hello\nx\n{len(BALLAST)}\n"
    assert 0 < lazy.cached() < len(BALLAST)
    # Once more, by a service that was killed.
    lazy.restart()
    assert run(lazy.node, image, "again", "cat /greeting") == "hello\n"
    # What was stored of the image goes with its last snapshot, its cache with the next cleanup.
    cri.remove_image(image)
    wait_until(lambda: not list((lazy.root / "images").iterdir()), "the metadata to go")
    wait_until(lambda: lazy.cached() == 0, "the cache to be freed")
    lazy.service.terminate()


def test_what_is_wrong_fails_the_pull(lazypull: Lazypull, workspace: Workspace) -> None:
    lazy = LazyNode(lazypull, workspace, CONTAINERD_16)
    # The registry loses the bootstrap layer, or what is in it.
    layer = lazy.image.manifest["layers"][-1]
    storage = workspace / f"registry-{lazy.registry.address.split(':')[1]}"
    (blob,) = storage.rglob(f"sha256/*/{oci.hexadecimal(layer['digest'])}/data")
    data = bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 1
    blob.write_bytes(data)
    with pytest.raises(rpc.RPCError, match=oci.hexadecimal(layer["digest"])[:12]):
        lazy.node.cri().pull(lazy.app)
    blob.unlink()
    with pytest.raises(rpc.RPCError, match="404"):
        lazy.node.cri().pull(lazy.app)
