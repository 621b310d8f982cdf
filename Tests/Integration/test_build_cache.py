# SPDX-License-Identifier: Apache-2.0
"""Layers that were converted before are neither read nor sent again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import oci
from commands import Lazypull
from gateway import Gateway
from generator import random_stack
from services import Registry
from workspace import Workspace


@pytest.fixture
def gateway(workspace: Workspace) -> Iterator[Gateway]:
    """A registry with what sees what it is asked for before it."""
    with Gateway(Registry(workspace).address) as gateway:
        yield gateway


def test_known_layers_cost_nothing(
    gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """From registry to registry: the second conversion reads and sends documents alone."""
    layout = oci.Layout.create(workspace / "source")
    random_stack(3).write_twin(layout, "source")
    source, host = f"{gateway.address}/app:1", gateway.address
    lazypull.run("push", "--quiet", layout.reference("source"), source).assert_done()

    def convert(target: str, *options: str) -> dict:
        gateway.seen.clear()
        arguments = ("convert", "--quiet", "--output", "json", *options, source, target)
        return json.loads(lazypull.run(*arguments).assert_done().output)

    first = convert(f"{host}/app:lazy")
    markable = [not layer["reused"] for layer in first["layers"]]
    assert all(markable)
    sources = {layer["source"]["digest"] for layer in first["layers"]}
    again = convert(f"{host}/app:lazy")
    reused = [layer["reused"] for layer in again["layers"]]
    assert again["manifest"] == first["manifest"]
    assert all(reused) or first["warnings"]
    if all(reused):
        read = [s.path for s in gateway.seen if s.method == "GET" and "/blobs/" in s.path]
        assert not any(digest in path for digest in sources for path in read)
    # In another repository the blobs are mounted, not sent.
    other = convert(f"{host}/copy:lazy", f"--build-cache={host}/app:lazy")
    assert other["manifest"]["digest"] == first["manifest"]["digest"]
    assert [layer["reused"] for layer in other["layers"]] == reused
    lazypull.run("check", "--quiet", "--against", source, f"{host}/copy:lazy").assert_done()
    # A cache that does not exist, and one that is no converted image.
    convert(f"{host}/third:lazy", f"--build-cache={host}/none:1", f"--build-cache={source}")
