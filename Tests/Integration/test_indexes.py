# SPDX-License-Identifier: Apache-2.0
"""Ordinary images by their own names, which run from their own layers: `lazypull serve-snapshotter`
finds an index over them."""

from __future__ import annotations

import hashlib
import json
import random
import re
import subprocess
from pathlib import Path

import pytest

import oci
from commands import Lazypull
from gateway import Gateway
from node import CONTAINERD_16, CONTAINERD_17, CONTAINERD_21, Release
from scenarios import file
from test_lazy_snapshotter import BALLAST, LazyNode, run
from workspace import Workspace

INDEX = ("convert", "--quiet", "--format", "zran", "--plain-http")


class IndexedNode(LazyNode):
    """A node, and an image that is pulled through a gateway, with an index at one of the places."""

    def __init__(
        self, lazypull: Lazypull, workspace: Workspace, release: Release, place: str
    ) -> None:
        self.place, self.indexes = place, workspace / "indexes"
        self.options = ("--index-dir", self.indexes)
        more = file(b"more", random.Random(2).randbytes(16 << 20))
        super().__init__(lazypull, workspace, release, extra=[more])

    def publish(self, lazypull: Lazypull, layout: oci.Layout, form: str) -> str:
        """Pushes the image, and makes the index."""
        self.gateway = Gateway(self.registry.address)
        # Debian's registry keeps no list itself.
        self.gateway.behaviour.lists_referrers = self.place in ("referrers", "foreign", "damaged")
        self.registry.push(layout, "source")
        self.layers = [layer["digest"] for layer in layout.manifest("source")["layers"]]
        self.digest = layout.tags()["source"]["digest"]
        image = f"docker://{self.gateway.address}/app:source"
        app = f"{self.gateway.address}/app:source"
        if self.place == "local":
            lazypull.run(*INDEX, "--index-dir", self.indexes, image).assert_done()
        elif self.place == "annotation":
            app = f"{self.gateway.address}/app:merged"
            lazypull.run(*INDEX, "--merge-index", image, f"docker://{app}").assert_done()
            # An index that is not found elsewhere.
            self.delete_tag(self.digest.replace(":", "-"))
        elif self.place == "foreign":
            # An index over another image, which the registry lists with this one.
            lazypull.run(*INDEX, f"docker://{self.gateway.address}/app:pause").assert_done()
            (listed,) = self.gateway.referrers.values()
            self.gateway.referrers = {self.digest: listed}
        elif self.place != "none":
            lazypull.run(*INDEX, image).assert_done()
        if self.place == "damaged":
            self.damage_index()
        self.gateway.seen.clear()
        return app

    def damage_index(self) -> None:
        """Changes a byte of what describes the last layer, where the registry keeps it."""
        ((listed,),) = self.gateway.referrers.values()
        manifest = json.loads(self.stored(listed["digest"]).read_bytes())
        blob = self.stored(manifest["layers"][-2]["digest"])
        data = bytearray(blob.read_bytes())
        data[len(data) // 2] ^= 1
        blob.write_bytes(data)

    def stored(self, digest: str) -> Path:
        """Where the registry keeps a blob."""
        name = oci.hexadecimal(digest)
        (path,) = self.path_of_registry().rglob(f"sha256/*/{name}/data")
        return path

    def delete_tag(self, tag: str) -> None:
        """Has the registry forget a tag."""
        for path in self.path_of_registry().rglob(f"_manifests/tags/{tag}"):
            subprocess.run(["rm", "-r", path], check=True)

    def path_of_registry(self) -> Path:
        return self.registry.log.with_suffix("")

    def requests(self, pattern: str) -> list:
        """What the registry was asked for through the gateway."""
        return [seen for seen in self.gateway.seen if re.search(pattern, seen.path)]

    def fetched(self) -> int:
        """The bytes of the image's last layer that were sent, none of them but in ranges."""
        requests = self.requests(f"/blobs/{self.layers[-1]}")
        assert all(seen.range for seen in requests if seen.method == "GET"), requests
        return sum(seen.size for seen in requests)


@pytest.mark.parametrize(
    "release, place",
    [
        (CONTAINERD_16, "tag"), (CONTAINERD_17, "referrers"), (CONTAINERD_21, "local"),
        (CONTAINERD_16, "annotation"),
    ],
    ids=lambda value: getattr(value, "suite", value),
)  # fmt: skip
def test_an_image_runs_from_its_own_layers(
    release: Release, place: str, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The image of pods' first processes has the same lower layers and no index: it is unpacked above
    them, whichever of the two comes first."""
    lazy = IndexedNode(lazypull, workspace, release, place)
    cri = lazy.node.cri()
    is_first = place != "annotation"
    if not is_first:
        cri.pull(lazy.pause)
    image = cri.pull(lazy.app)
    assert f"found={place}" in lazy.log(), lazy.log()
    assert lazy.fetched() == 0 and lazy.cached() == 0
    assert lazy.log().count("layer provided") == (len(lazy.layers) if is_first else 1)
    # Each place is asked once, and not for each layer.
    for pattern in ("/referrers/", "/manifests/sha256-"):
        assert len(lazy.requests(pattern)) <= 1, lazy.gateway.seen
    content = lazy.node.see(lazy.node.path / "root/io.containerd.content.v1.content/blobs/sha256")
    for digest in lazy.layers if is_first else lazy.layers[-1:]:
        assert not (content / oci.hexadecimal(digest)).exists()
    if is_first:
        cri.pull(lazy.pause)
        assert "layers are read to mount them alone" in lazy.log()
    assert run(lazy.node, image, "app", "cat /greeting; echo x >/new; cat /new") == "hello\nx\n"
    # Of 20 MiB the spans that hold what was read.
    assert 0 < lazy.fetched() < 10 << 20
    # Once more, by a service that was killed.
    lazy.restart()
    output = run(lazy.node, image, "again", "md5sum /ballast")
    assert output == f"{hashlib.md5(BALLAST).hexdigest()}  /ballast\n"
    cri.remove_image(image)
    lazy.service.terminate()


@pytest.mark.parametrize("place", ["none", "foreign", "damaged"])
def test_an_image_without_an_index_is_pulled(
    place: str, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Nothing is found, or an index over another image, or one that is broken; that is remembered."""
    lazy = IndexedNode(lazypull, workspace, CONTAINERD_16, place)
    cri = lazy.node.cri()
    image = cri.pull(lazy.app)
    # What a registry has sorted out by type is asked for once more, without.
    for pattern in ("/referrers/", "/manifests/sha256-"):
        assert len(lazy.requests(pattern)) <= 2, lazy.gateway.seen
    assert ("no index of an image can be used" in lazy.log()) == (place == "damaged")
    assert "layer provided" not in lazy.log()
    cri.pull(lazy.pause)
    assert run(lazy.node, image, "app", "cat /greeting") == "hello\n"
    lazy.service.terminate()


def test_ctr_remote(lazypull: Lazypull, workspace: Workspace) -> None:
    """Which names the image in labels of its own, and no manifest."""
    lazy = IndexedNode(lazypull, workspace, CONTAINERD_16, "tag")
    node = lazy.node
    node.run(
        "ctr-remote", "--address", node.path / "socket", "images", "rpull", "--plain-http",
        "--snapshotter", "lazypull", lazy.app,
    )  # fmt: skip
    assert lazy.log().count("layer provided") == len(lazy.layers)
    assert lazy.fetched() == 0
    output = node.ctr(
        "run", "--rm", "--snapshotter", "lazypull", lazy.app, "app", "/bin/cat", "/greeting"
    )
    assert output == "hello\n"
    lazy.service.terminate()
