# SPDX-License-Identifier: Apache-2.0
"""What the tests of registries share: names, logins, hosts.toml, a small image."""

from __future__ import annotations

import base64
import json
import os
import random
import subprocess
from dataclasses import dataclass
from pathlib import Path

import oci
from commands import Lazypull
from gateway import PASSWORD, USER, Gateway
from layers import Stack
from rafs import ConvertedImage
from scenarios import directory, file
from services import Registry
from workspace import Workspace


def behind(gateway: Gateway, name: str) -> str:
    """The same image, as it is reached through the gateway."""
    return f"{gateway.address}/{name.split('/', 1)[1]}"


def login(workspace: Workspace, host: str, password: str = PASSWORD) -> dict[str, str]:
    """The environment of somebody who is logged in."""
    auth = base64.b64encode(f"{USER}:{password}".encode()).decode()
    path = workspace / "auth.json"
    path.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {**os.environ, "REGISTRY_AUTH_FILE": str(path)}


def hosts(workspace: Workspace, registry: str, text: str) -> str:
    """The option that names a directory with this hosts.toml."""
    directory = workspace / "certs.d" / registry
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "hosts.toml").write_text(text)
    return f"--hosts-dir={workspace / 'certs.d'}"


def hosts_name(host: str) -> str:
    """The directory's name for a host with a port, as containerd spells it without colon."""
    return host.replace(":", "_") + "_"


def files_stack(count: int, size: int) -> Stack:
    """One layer with files that do not compress, `d/0` and so on: each chunk is its own range."""
    return Stack([
        [
            directory(b"d"),
            *(file(b"d/%d" % n, random.Random(n).randbytes(size)) for n in range(count)),
        ]
    ])  # fmt: skip


@dataclass(frozen=True)
class Stored:
    """An image that is in a registry, converted, and beside it in a layout."""

    registry: Registry
    source: oci.Layout
    image: ConvertedImage
    # Of each file, in bytes.
    size: int

    @property
    def name(self) -> str:
        """The image in the registry, by its digest."""
        return f"{self.registry.address}/app@{self.image.digest}"

    @property
    def blob(self) -> str:
        """The digest of the only data blob."""
        (layer,) = self.image.data_layers
        return layer["digest"]

    def content(self, number: int) -> bytes:
        """What is in `d/<number>`."""
        return random.Random(number).randbytes(self.size)


def store(
    lazypull: Lazypull, registry: Registry, count: int, size: int, *options: str
) -> Stored:
    """Converts an image of `files_stack`, and pushes it."""
    layout = oci.Layout.create(lazypull.workspace / "stored")
    files_stack(count, size).write(layout, "source")
    image = lazypull.convert(layout.reference("source"), layout, "lazy", *options)
    target = f"docker://{registry.address}/app:lazy"
    lazypull.run("push", "--quiet", image.reference, target).assert_done()
    return Stored(registry, layout, image, size)


def certificate(directory: Path, name: str = "localhost") -> tuple[Path, Path, Path]:
    """An authority of one's own and a certificate by it: the authority's, the server's, its key."""
    authority, authority_key = directory / "authority.pem", directory / "authority.key"
    request, key, chain = directory / "request", directory / "server.key", directory / "server.pem"
    extensions = directory / "extensions"
    extensions.write_text(f"subjectAltName=DNS:{name},IP:127.0.0.1\n")
    algorithm = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for command in [
        ["openssl", "req", "-x509", *algorithm, "-days", "2", "-subj", "/CN=authority",
         "-keyout", authority_key, "-out", authority],
        ["openssl", "req", *algorithm, "-subj", f"/CN={name}", "-keyout", key, "-out", request],
        ["openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority_key,
         "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", chain],
    ]:  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    return authority, chain, key
