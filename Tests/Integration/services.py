# SPDX-License-Identifier: Apache-2.0
"""Other programs' daemons, each with directories and addresses of its own: containerd, a registry."""

from __future__ import annotations

import socket
import subprocess
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import oci
from workspace import LIMIT, Workspace, wait_until


def free_port() -> int:
    """A port of this machine that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Registry:
    """Debian's docker-registry on a port of this machine that was free; without TLS, unless the
    end of its configuration says otherwise.

    `prefix` runs it elsewhere, where `host` is an address; `storage` is what another one has left.
    """

    def __init__(
        self, workspace: Workspace, more: str = "", *, prefix: Sequence[str] = (),
        host: str = "127.0.0.1", storage: Path | None = None,
    ) -> None:
        self.address = f"{host}:{free_port()}"
        # By its port: a test may have several.
        name = f"registry-{self.address.split(':')[1]}"
        storage = storage or workspace.directory(name)
        configuration = workspace / f"{name}.yml"
        self.log = workspace / f"{name}.log"
        configuration.write_text(
            f"version: 0.1\nlog:\n  level: warn\nstorage:\n  filesystem:\n"
            f"    rootdirectory: {storage}\nhttp:\n  addr: {self.address}\n{more}"
        )
        with open(self.log, "wb") as log:
            self.process = process = workspace.start(
                [*prefix, "docker-registry", "serve", configuration], stdout=log, stderr=log
            )
        wait_until(lambda: process.poll() is not None or self._answers(), "the registry")
        assert process.poll() is None, self.log.read_text()

    def _answers(self) -> bool:
        host, port = self.address.split(":")
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            return False
        return True

    def push(self, layout: oci.Layout, tag: str) -> str:
        """Copies an image with all that its index names; the reference under which it is there."""
        reference = f"{self.address}/app:{tag}"
        subprocess.run(
            ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false",
             layout.reference(tag), f"docker://{reference}"],
            check=True,
        )  # fmt: skip
        # Debian's skopeo drops the artifactType on its way.
        descriptor = layout.tags()[tag]
        request = urllib.request.Request(
            f"http://{self.address}/v2/app/manifests/{tag}",
            data=layout.blob(descriptor["digest"]),
            headers={"Content-Type": descriptor["mediaType"]},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            assert response.headers["Docker-Content-Digest"] == descriptor["digest"]
        return reference


CONTAINERD = """\
version = 2
root = "{path}/root"
state = "{path}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "{path}/socket"
[ttrpc]
  address = "{path}/socket.ttrpc"
"""


class Containerd:
    """Debian's containerd, which knows nothing of other images than containers'."""

    def __init__(self, workspace: Workspace) -> None:
        self.path = workspace.directory("containerd")
        (self.path / "config.toml").write_text(CONTAINERD.format(path=self.path))
        with open(self.path / "log", "wb") as log:
            process = workspace.start(
                ["containerd", "--config", self.path / "config.toml"], stdout=log, stderr=log
            )
        wait_until(lambda: process.poll() is not None or self._answers(), "containerd")
        assert process.poll() is None, (self.path / "log").read_text()

    def _answers(self) -> bool:
        return (self.path / "socket").exists() and self._run("version").returncode == 0

    def _run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ctr", "--address", self.path / "socket", *arguments],
            capture_output=True, text=True, timeout=LIMIT,
        )  # fmt: skip

    def ctr(self, *arguments: str | Path) -> str:
        """What `ctr` prints, which must succeed."""
        result = self._run(*arguments)
        assert result.returncode == 0, result
        return result.stdout
