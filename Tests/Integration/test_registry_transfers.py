# SPDX-License-Identifier: Apache-2.0
"""Large transfers with registries: ranges in parts, uploads that the registry loses."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import oci
from commands import EXIT_INPUT_OUTPUT, EXIT_NOT_FOUND, Lazypull
from gateway import Gateway
from registries import behind, files_stack, store
from services import Registry
from workspace import Workspace

SIZE = 6 << 20
LAYER = 40 << 20


@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    """A registry with nothing in it."""
    return Registry(workspace)


@pytest.fixture
def gateway(registry: Registry) -> Iterator[Gateway]:
    """A gateway to it that behaves."""
    with Gateway(registry.address) as gateway:
        yield gateway


@pytest.mark.parametrize("fault", [None, "truncate", "503"])
def test_large_ranges_come_in_parts_at_once(
    fault: str | None,
    registry: Registry,
    gateway: Gateway,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """A chunk of 6 MiB is asked for by four requests that are under way together."""
    stored = store(lazypull, registry, 1, SIZE, "--chunk-size=16M")
    name = behind(gateway, stored.name)
    with lazypull.mount(name, workspace / "cache", None, "--read-ahead=0") as mounted:
        before = len(gateway.seen)
        # None is answered before there are four.
        gateway.behaviour.gathering = threading.Barrier(4)
        if fault:
            gateway.fault(fault, "GET", "/blobs/")
        assert (mounted.path / "d/0").read_bytes() == stored.content(0)
    seen = [seen for seen in gateway.seen[before:] if seen.range and seen.status == 206]
    ranges = sorted(tuple(map(int, re.findall(r"\d+", seen.range))) for seen in seen)
    if fault is None:
        assert [first for first, _ in ranges[1:]] == [last + 1 for _, last in ranges[:-1]]
        assert len(ranges) == 4 and ranges[-1][1] + 1 - ranges[0][0] == SIZE
    else:
        # What came is not asked for again.
        assert len(ranges) == (5 if fault == "truncate" else 4)
        assert sum(seen.size for seen in seen) == SIZE


@pytest.fixture
def original(registry: Registry, workspace: Workspace) -> str:
    """An image in the registry whose one layer takes three chunks of an upload, converted."""
    layout = oci.Layout.create(workspace / "source")
    files_stack(4, LAYER // 4).write(layout, "source")
    return registry.push(layout, "source")


def test_a_lost_upload_begins_anew(
    original: str, gateway: Gateway, lazypull: Lazypull
) -> None:
    """A registry that forgets an upload within a layer gets all of the layer once more."""
    target = f"{gateway.address}/other:lazy"
    gateway.fault("lost", "PATCH", "/blobs/uploads/", after=1)
    lazypull.run("convert", "--quiet", behind(gateway, original), target).assert_done()
    assert gateway.behaviour.faults[0].times == 0
    patches = [seen.status for seen in gateway.seen if seen.method == "PATCH"]
    assert patches == [202, 404, 202, 202, 202], patches
    lazypull.run("check", "--quiet", "--against", original, target).assert_done()


def test_uploads_that_are_always_lost(
    original: str, registry: Registry, gateway: Gateway, lazypull: Lazypull
) -> None:
    """After three times it is said what happens; nothing is there under the tag."""
    target = f"{gateway.address}/other:lazy"
    gateway.fault("lost", "PATCH", "/blobs/uploads/", times=100)
    result = lazypull.run("convert", "--quiet", behind(gateway, original), target)
    result.assert_refused(gateway.address, "other", "lost", codes=[EXIT_INPUT_OUTPUT])
    assert len(result.errors.strip().splitlines()) == 1, result
    assert [seen.status for seen in gateway.seen if seen.method == "PATCH"] == [404] * 3
    lazypull.run("check", f"{registry.address}/other:lazy").assert_refused(
        codes=[EXIT_NOT_FOUND]
    )


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
def test_a_registry_that_takes_nothing(
    method: str, gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Whatever step of an upload is silent for good: at the deadline it is said which."""
    layout = oci.Layout.create(workspace / "source")
    # More than a chunk, for the step that sends one.
    files_stack(2, LAYER // 4 if method == "PATCH" else 100).write(layout, "source")
    gateway.behaviour.stall = 1000
    gateway.fault("stall", method, "/blobs/uploads/", times=1_000_000)
    # Far less than a run may take.
    result = lazypull.run(
        "push", "--quiet", "--registry-deadline=2", layout.reference("source"),
        f"{gateway.address}/other:tag",
    )  # fmt: skip
    result.assert_refused(gateway.address, "other", "sha256:", codes=[EXIT_INPUT_OUTPUT])
    assert len(result.errors.strip().splitlines()) == 1, result


def test_an_unknown_tag_names_those_there_are(
    registry: Registry, gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """From a list in pages; where it cannot be had, the tag is not there all the same."""
    layout = oci.Layout.create(workspace / "source")
    files_stack(1, 10).write(layout, "source")
    for number in range(10):
        layout.set_tag(f"v{number}", layout.tags()["source"])
        registry.push(layout, f"v{number}")
    gateway.behaviour.pages_tags = True
    name = f"{gateway.address}/app:v10"
    result = lazypull.run("check", name)
    known = ", ".join(f"v{number}" for number in range(8))
    result.assert_refused("v10", f"tags {known} and 2 more", codes=[EXIT_NOT_FOUND])
    assert len([seen for seen in gateway.seen if "/tags/list" in seen.path]) == 10
    gateway.fault("500", "GET", "/tags/list")
    result = lazypull.run("check", name)
    result.assert_refused("v10", "404", codes=[EXIT_NOT_FOUND])
    assert "TROUBLE" not in result.errors
