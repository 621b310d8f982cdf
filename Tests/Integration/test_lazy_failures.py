# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with images that nobody has pulled, and what who pulls or reads them sees."""

from __future__ import annotations

import copy
import errno
import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import rpc

import gateway
import oci
from commands import Lazypull
from gateway import PASSWORD, Gateway
from lazy import BALLAST, Container, Image, LazyService
from registries import login
from workspace import Workspace, wait_until

NOT_FOUND, FAILED_PRECONDITION = 5, 9
EROFS_MAGIC = bytes.fromhex("e2e1f5e0")
PIECE = 64 << 10


@pytest.fixture
def image(lazypull: Lazypull, workspace: Workspace) -> Image:
    return Image(lazypull, workspace)


@pytest.fixture
def front(image: Image) -> Iterator[Gateway]:
    """A server before the image's registry."""
    with Gateway(image.registry.address) as server:
        yield server


def through(front: Gateway, image: Image) -> Image:
    """The same image, as it is reached through the server."""
    other = copy.copy(image)
    other.reference = image.reference.replace(image.registry.address, front.address)
    return other


def refusal(service: LazyService, image: Image, index: int = 0, **labels: str) -> rpc.RPCError:
    """How the pull of a layer fails, with other labels than its own; nothing is left of it."""
    prefix = "containerd.io/snapshot"
    names = {"chain": f"{prefix}.ref", "layer": f"{prefix}/cri.layer-digest"}
    sent = image.labels(index) | {names[name]: value for name, value in labels.items()}
    below = image.chain[index - 1] if index else ""
    with pytest.raises(rpc.RPCError) as caught:
        service.call(
            "Prepare",
            {2: "extract", 3: below, 4: [{1: key, 2: value} for key, value in sent.items()]},
        )
    for name in ("extract", sent[names["chain"]]):
        with pytest.raises(rpc.RPCError) as missing:
            service.call("Stat", {2: name})
        assert missing.value.code == NOT_FOUND
    return caught.value


def read_at(container: Container, offset: int) -> bytes:
    """A piece of a file that is far away from what else is read."""
    file = os.open(container.path / "ballast", os.O_RDONLY)
    try:
        return os.pread(file, PIECE, offset)
    finally:
        os.close(file)


def assert_unreadable(
    service: LazyService, container: Container, offset: int, *causes: str
) -> None:
    """The reader gets an error, and the log says why."""
    before = len(service.log())
    with pytest.raises(OSError) as caught:
        read_at(container, offset)
    assert caught.value.errno == errno.EIO
    wait_until(
        lambda: all(cause in service.log()[before:] for cause in causes), "the cause in the log"
    )


def test_the_registry_is_down(binary: Path, image: Image, workspace: Workspace) -> None:
    """A pull says so; what was fetched before is read on, and the rest once it is back."""
    service = LazyService(
        binary, workspace, "--read-deadline", "3", "--read-ahead", "0"
    ).start()
    service.provide(image)
    other = image.variant(1)
    container = Container(service, image, workspace, "one")
    assert read_at(container, 0) == BALLAST[:PIECE]
    image.registry.process.kill()
    image.registry.process.wait()
    # A pull of what is not here.
    error = refusal(service, other, len(other.chain) - 1)
    assert image.registry.address in error.message
    assert "onnect" in error.message
    # A container reads what is here, and gets an error for the rest, with its cause in the log.
    assert read_at(container, 0) == BALLAST[:PIECE]
    assert_unreadable(
        service, container, 16 << 20, f"{image.registry.address}/app", "onnect to server"
    )
    # So does one of an image that is here, when it starts now.
    late = Container(service, image, workspace, "two")
    assert read_at(late, 0) == BALLAST[:PIECE]
    configuration = workspace / f"registry-{image.registry.address.split(':')[1]}.yml"
    workspace.start(
        ["docker-registry", "serve", configuration],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: readable(container, 16 << 20), "the registry's return to be noticed")
    service.provide(other)


def readable(container: Container, offset: int) -> bool:
    """Whether a piece can be read; it is the right one then."""
    try:
        data = read_at(container, offset)
    except OSError as error:
        assert error.errno == errno.EIO
        return False
    assert data == BALLAST[offset : offset + PIECE]
    return True


def test_credentials_are_revoked(
    binary: Path, image: Image, front: Gateway, workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Pulls and reads fail until others are there, which need no restart."""
    front.behaviour.token_seconds = 60
    service = LazyService(
        binary, workspace, "--read-deadline", "3", "--read-ahead", "0"
    ).start(env=login(workspace, front.address))
    locked, other = through(front, image), through(front, image.variant(1))
    service.provide(locked)
    container = Container(service, locked, workspace, "one")
    assert read_at(container, 0) == BALLAST[:PIECE]
    monkeypatch.setattr(gateway, "PASSWORD", "another")
    front.tokens.clear()
    error = refusal(service, other, len(other.chain) - 1)
    assert front.address in error.message
    assert "401" in error.message
    assert read_at(container, 0) == BALLAST[:PIECE]
    assert_unreadable(service, container, 16 << 20, f"{front.address}/app", "401 Unauthorized")
    login(workspace, front.address, "another")
    wait_until(lambda: readable(container, 16 << 20), "the new password to be used")
    service.provide(other)
    assert PASSWORD not in service.log()


def test_the_bootstrap_is_corrupt(binary: Path, image: Image, workspace: Workspace) -> None:
    """What its maker pushed so, with all digests right, fails the pull and not the container."""
    service = LazyService(binary, workspace).start()
    tar = bytearray(image.bootstrap_layer())
    place = tar.index(EROFS_MAGIC)
    tar[place : place + 4] = bytes(4)
    no_archive = image.with_bootstrap_layer(random.Random(1).randbytes(2048))
    lying = image.variant(1)
    lying.config["rootfs"]["diff_ids"][-1] = oci.sha256(b"another")
    lying.push()
    causes = {
        "no EROFS superblock": image.with_bootstrap_layer(bytes(tar)),
        f"layer {no_archive.manifest['layers'][-1]['digest']}": no_archive,
        oci.sha256(b"another"): lying,
    }
    for cause, broken in causes.items():
        # The last layer is the one that has it; those below may be other images', too.
        last = len(broken.chain) - 1
        service.provide(broken, last)
        message = refusal(service, broken, last).message
        assert cause in message
        assert f"/app@{broken.digest}: " in message
    service.provide(image)


def test_labels_lie(binary: Path, image: Image, workspace: Workspace) -> None:
    """What containerd would believe of a chain ID, for this image and for others."""
    service = LazyService(binary, workspace).start()
    foreign = oci.sha256(b"another image's layer")
    error = refusal(service, image, chain=foreign)
    assert error.code == FAILED_PRECONDITION
    assert f"no layer of this image has chain ID {foreign}" in error.message
    assert image.digest in error.message
    layers = [layer["digest"] for layer in image.manifest["layers"]]
    error = refusal(service, image, layer=layers[1])
    assert error.code == FAILED_PRECONDITION
    assert f"ends with layer {layers[0]}, the labels say {layers[1]}" in error.message
    # A configuration by which a layer would be known under another's name.
    lying = image.variant(1)
    lying.config["rootfs"]["diff_ids"][0] = foreign
    lying.push()
    error = refusal(service, lying)
    assert f"the diff_id of data layer {layers[0]} is {foreign}" in error.message
    # Nor does what is above a layer come to be on top of another one.
    service.provide(image)
    error = refusal_above(service, image)
    assert error.code == FAILED_PRECONDITION
    assert f"the parent is {image.chain[0]}" in error.message


def refusal_above(service: LazyService, image: Image) -> rpc.RPCError:
    """How the pull of the last layer fails that is to lie on the first one."""
    labels = [{1: key, 2: value} for key, value in image.labels(-1).items()]
    with pytest.raises(rpc.RPCError) as caught:
        service.call("Prepare", {2: "extract", 3: image.chain[0], 4: labels})
    return caught.value
