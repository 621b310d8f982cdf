# SPDX-License-Identifier: Apache-2.0
"""Converted images through the clients of containerd that name them, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

import oci
from commands import Lazypull
from node import CONTAINERD_16, CONTAINERD_17, CONTAINERD_21, Release
from test_index import HERE
from test_lazy_snapshotter import BALLAST, LazyNode, run
from workspace import Workspace, wait_until

# A registry's name without a port, which hosts.toml leads to the one that runs: containerd's label
# of where a blob came from leaves ports out.
HOST = "registry.test"


class NamelessNode(LazyNode):
    """A node whose containerd tells the snapshotter nothing of an image but chain IDs."""

    def command(self, *words: str | Path) -> tuple[list[str | Path], dict]:
        hosts = self.path / "hosts" / HOST
        if not hosts.exists():
            hosts.mkdir(parents=True)
            place = f"http://{self.registry.address}"
            (hosts / "hosts.toml").write_text(
                f'server = "{place}"\n[host."{place}"]\n  capabilities = ["pull", "resolve"]\n'
            )
            self._configure()
        return super().command(
            *words, "--containerd-address", self.node.path / "socket",
            "--hosts-dir", self.path / "hosts",
        )  # fmt: skip

    def _configure(self) -> None:
        """The CRI's default is to say no more."""
        path = self.node.path / "config.toml"
        annotations = "disable_snapshot_annotations"
        text = path.read_text().replace(f"{annotations} = false", f"{annotations} = true")
        if self.node.release is CONTAINERD_21:
            text += (
                '[plugins."io.containerd.cri.v1.images".registry]\n'
                f'  config_path = "{self.path}/hosts"\n'
                # By default this goes by containerd's transfer service, as `ctr` does.
                '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n'
                f'  platform = "linux/{HERE}"\n  snapshotter = "lazypull"\n'
            )
        path.write_text(text)

    @property
    def named(self) -> str:
        """The converted image as the clients here call it."""
        return f"{HOST}/app:lazy"

    def assert_all_provided(self) -> None:
        """Every layer was answered to exist, and none was downloaded."""
        layers = self.image.manifest["layers"]
        assert self.log().count("layer provided") == len(layers)
        content = self.node.see(self.node.path / "root/io.containerd.content.v1.content/blobs/sha256")
        for layer in layers:
            assert not (content / oci.hexadecimal(layer["digest"])).exists()
        assert self.cached() == 0

    def print_greeting(self, image: str, name: str) -> str:
        return self.node.ctr(
            "run", "--rm", "--snapshotter", "lazypull", image, name, "/bin/cat", "/greeting"
        )


def test_ctr_finds_images_by_what_containerd_keeps(
    lazypull: Lazypull, workspace: Workspace
) -> None:
    """containerd 2.1 sends a layer's chain ID only."""
    lazy = NamelessNode(lazypull, workspace, CONTAINERD_21)
    lazy.node.ctr(
        "images", "pull", "--snapshotter", "lazypull", "--hosts-dir", lazy.path / "hosts", lazy.named
    )
    lazy.assert_all_provided()
    assert lazy.print_greeting(lazy.named, "app") == "hello\n"
    assert 0 < lazy.cached() < len(BALLAST)
    lazy.service.terminate()


def test_the_cri_needs_no_annotations(lazypull: Lazypull, workspace: Workspace) -> None:
    """containerd 2.1 as it is set up by default."""
    lazy = NamelessNode(lazypull, workspace, CONTAINERD_21)
    cri = lazy.node.cri()
    cri.pull(lazy.pause)
    image = cri.pull(lazy.named)
    lazy.assert_all_provided()
    assert run(lazy.node, image, "app", "cat /greeting") == "hello\n"
    lazy.service.terminate()


@pytest.mark.parametrize("release", [CONTAINERD_16, CONTAINERD_17], ids=lambda release: release.suite)
def test_ctr_before_2_1_says_which_clients_work(
    release: Release, lazypull: Lazypull, workspace: Workspace
) -> None:
    lazy = NamelessNode(lazypull, workspace, release)
    pull = (
        "images", "pull", "--snapshotter", "lazypull", "--hosts-dir", lazy.path / "hosts",
    )  # fmt: skip
    with pytest.raises(AssertionError, match="is a converted image.*nerdctl and ctr-remote"):
        lazy.node.ctr(*pull, lazy.named)
    # Ordinary images are its business.
    lazy.node.ctr(*pull, f"{HOST}/app:pause")
    lazy.service.terminate()


def test_ctr_remote(lazypull: Lazypull, workspace: Workspace) -> None:
    lazy = NamelessNode(lazypull, workspace, CONTAINERD_16)
    lazy.node.run(
        "ctr-remote", "--address", lazy.node.path / "socket", "images", "rpull",
        "--snapshotter", "lazypull", "--plain-http", lazy.app,
    )  # fmt: skip
    lazy.assert_all_provided()
    assert lazy.print_greeting(lazy.app, "app") == "hello\n"
    lazy.service.terminate()
