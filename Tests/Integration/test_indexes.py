# SPDX-License-Identifier: Apache-2.0
"""Ordinary images by their own names, which run from their own layers: `lazypull serve-snapshotter`
finds an index over them."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
import rpc

import oci
from commands import Lazypull
from gateway import Gateway
from layers import Stack
from node import CONTAINERD_16, CONTAINERD_17, CONTAINERD_21, RELEASES, Release
from scenarios import file
from test_lazy_snapshotter import BALLAST, LazyNode, run
from workspace import LIMIT, Workspace

INDEX = ("convert", "--quiet", "--format", "zran", "--plain-http")


class IndexedNode(LazyNode):
    """A node, and an image that is pulled through a gateway, with an index at one of the places."""

    def __init__(
        self, lazypull: Lazypull, workspace: Workspace, release: Release, place: str
    ) -> None:
        self.place, self.indexes = place, workspace / "indexes"
        self.options = ("--index-dir", self.indexes)
        for name in ("twin", "referrers", "tag", "annotation", "local"):
            self.options += ("--find-index", name)
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
        elif self.place in ("twin", "old twin"):
            app = f"{self.gateway.address}/app:both"
            lazypull.run(
                "convert", "--quiet", "--plain-http", "--keep-original", image, f"docker://{app}"
            ).assert_done()
            if self.place == "old twin":
                self.mark_as_nydus_did("both")
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

    def mark_as_nydus_did(self, tag: str) -> None:
        """Tells the converted image of an index as Nydus did once, and not what it is made of."""
        index = json.loads(self.document(tag))
        (entry,) = [each for each in index["manifests"] if "artifactType" in each]
        manifest = json.loads(self.document(entry["digest"]))
        del manifest["annotations"]["containerd.io/snapshot/nydus-source-digest"]
        data = json.dumps(manifest).encode()
        del entry["artifactType"]
        entry |= {"digest": oci.sha256(data), "size": len(data)}
        entry["platform"]["os.features"] = ["nydus.remoteimage.v1"]
        self.document(entry["digest"], data, entry["mediaType"])
        self.document(tag, json.dumps(index).encode(), index["mediaType"])

    def document(self, name: str, data: bytes | None = None, kind: str = "*/*") -> bytes:
        """A manifest or index of the registry's, which gets it if it is given."""
        kinds = "application/vnd.oci.image.index.v1+json,application/vnd.oci.image.manifest.v1+json"
        request = urllib.request.Request(
            f"http://{self.registry.address}/v2/app/manifests/{name}", data=data,
            method="PUT" if data else "GET", headers={"Content-Type": kind, "Accept": kinds},
        )  # fmt: skip
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            return response.read()

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


@pytest.mark.parametrize(
    "release, place",
    [*((release, "twin") for release in RELEASES), (CONTAINERD_16, "old twin")],
    ids=lambda value: getattr(value, "suite", value),
)
def test_an_image_runs_as_its_converted_twin(
    release: Release, place: str, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The index that is pulled has the image in both forms: nothing of the one is needed."""
    lazy = IndexedNode(lazypull, workspace, release, place)
    cri = lazy.node.cri()
    image = cri.pull(lazy.app)
    assert "found=twin" in lazy.log(), lazy.log()
    assert lazy.cached() == 0
    assert lazy.log().count("layer provided") == len(lazy.layers)
    # An image of its own has the same lower layers, and no twin.
    cri.pull(lazy.pause)
    lazy.gateway.seen.clear()
    output = run(lazy.node, image, "app", "cat /greeting; md5sum /ballast")
    assert output == f"hello\n{hashlib.md5(BALLAST).hexdigest()}  /ballast\n"
    assert 0 < lazy.cached()
    for layer in lazy.layers:
        assert not lazy.requests(f"/blobs/{layer}")
    lazy.restart()
    assert run(lazy.node, image, "again", "cat /greeting") == "hello\n"
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


class LyingNode(LazyNode):
    """A node, an image, and another one whose configuration claims that one's layers, with an index
    over its own."""

    def publish(self, lazypull: Lazypull, layout: oci.Layout, form: str) -> str:
        repositories = f"docker://{self.registry.address}"
        push = ("push", "--quiet", "--plain-http")
        lazypull.run(*push, layout.reference("source"), f"{repositories}/good:1").assert_done()
        manifest = layout.manifest("source")
        config = layout.document(manifest["config"]["digest"])
        tars = [gzip.decompress(layout.blob(layer["digest"])) for layer in manifest["layers"]]
        (tars[-1],) = Stack([[file(b"greeting", b"owned\n"), file(b"more", BALLAST)]]).tars()
        kind = oci.OCI.layer_type(oci.Compression.GZIP)
        layers = [layout.put(gzip.compress(tar, 1), kind) for tar in tars]
        honest = oci.image_config([oci.sha256(tar) for tar in tars])
        layout.put_image("bad", honest, layers)
        lazypull.run(*INDEX[:-1], layout.reference("bad")).assert_done()
        (listed,) = layout.untagged()
        index = layout.document(listed["digest"])
        layout.put_image("bad", config, layers)
        subject = layout.tags()["bad"]
        index["subject"] = {name: subject[name] for name in ("mediaType", "digest", "size")}
        layout.set_tag("index", layout.put_document(index, listed["mediaType"]))
        for tag in ("bad", "index"):
            lazypull.run(*push, layout.reference(tag), f"{repositories}/bad:{tag}").assert_done()
        return f"{self.registry.address}/bad:bad"


def test_indexes_of_registries_are_not_believed_by_default(
    lazypull: Lazypull, workspace: Workspace
) -> None:
    """What an index says of a chain ID would hold for all images."""
    lazy = LyingNode(lazypull, workspace, CONTAINERD_16)
    cri = lazy.node.cri()
    with pytest.raises(rpc.RPCError, match="wrong diff id"):
        cri.pull(lazy.app)
    cri.pull(lazy.pause)
    image = cri.pull(f"{lazy.registry.address}/good:1")
    assert run(lazy.node, image, "app", "cat /greeting") == "hello\n"
    lazy.service.terminate()
