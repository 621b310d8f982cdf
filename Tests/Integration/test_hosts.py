# SPDX-License-Identifier: Apache-2.0
"""Several hosts for one registry: mirrors that send wrong bytes, or no ranges."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

import oci
import tree
from commands import Lazypull
from gateway import Gateway
from services import Registry
from test_registry import expected, hosts, lazy, read_all, registry, source  # noqa: F401
from workspace import Workspace


@pytest.fixture
def mirror(registry: Registry) -> Iterator[Gateway]:
    """A mirror of the registry."""
    with Gateway(registry.address) as gateway:
        yield gateway


@pytest.fixture
def origin(registry: Registry) -> Iterator[Gateway]:
    """What stands for the registry itself, to see what it is asked for."""
    with Gateway(registry.address) as gateway:
        yield gateway


def named(origin: Gateway, mirror: Gateway, lazy: str, workspace: Workspace) -> tuple[str, str]:
    """The option that puts the mirror before the origin, and the image's name there."""
    host = origin.address.replace("127.0.0.1", "localhost")
    text = f'server = "http://{host}"\n[host."http://{mirror.address}"]\n'
    option = hosts(workspace, host.replace(":", "_") + "_", text)
    return option, f"{host}/{lazy.split('/', 1)[1]}"


def ranges(gateway: Gateway) -> int:
    """How many ranges it gave."""
    return sum(seen.status == 206 for seen in gateway.seen)


def wholes(gateway: Gateway) -> list[str]:
    """The blobs it sent whole."""
    return [
        seen.path.split("?")[0]
        for seen in gateway.seen
        if "/blobs/" in seen.path and seen.status == 200
    ]


def test_wrong_bytes_are_asked_for_elsewhere(
    lazy: str,
    mirror: Gateway,
    origin: Gateway,
    lazypull: Lazypull,
    expected: tree.Tree,
    workspace: Workspace,
) -> None:
    """What a mirror sends wrong comes from the registry, and the log says who sent it."""
    option, name = named(origin, mirror, lazy, workspace)
    with lazypull.mount(name, workspace / "cache", None, option, "--read-ahead=0") as mounted:
        before = len(mirror.seen)
        mirror.fault("corrupt", "GET", "/blobs/", times=10_000)
        tree.assert_same(expected, read_all(mounted.path))
        lines = mounted.log_lines()
        assert any("host sent wrong bytes" in line and mirror.address in line for line in lines)
        assert not any("fetch failed" in line for line in lines)
        asked = [seen.path for seen in mirror.seen[before:] if "/blobs/" in seen.path]
        # Several threads may have asked before the first answer was known to be wrong.
        assert len(asked) <= 5 * len(set(asked))
    assert ranges(origin) > 0
    # So does who unpacks.
    for gateway in (mirror, origin):
        gateway.seen.clear()
    result = lazypull.run("unpack", option, name, str(workspace / "tree")).assert_done()
    assert "wrong bytes" in result.errors or not ranges(mirror)
    tree.assert_same(expected, read_all(workspace / "tree"))


def test_wrong_bytes_from_everywhere(
    lazy: str, mirror: Gateway, origin: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Wrong bytes from everybody are an error, and never content."""
    option, name = named(origin, mirror, lazy, workspace)
    with lazypull.mount(name, workspace / "cache", None, option, "--read-ahead=0") as mounted:
        for gateway in (mirror, origin):
            gateway.fault("corrupt", "GET", "/blobs/", times=10_000)
        files = [
            path
            for path in sorted(mounted.path.rglob("*"))
            if path.is_file() and not path.is_symlink() and path.stat().st_size > 0
        ]
        failures = 0
        for path in files[:20]:
            try:
                path.read_bytes()
            except OSError:
                failures += 1
        assert failures > 0
        assert any("fetch failed" in line for line in mounted.log_lines())
        for gateway in (mirror, origin):
            gateway.behaviour.faults.clear()
        # A failure is the answer for 0.3 s: to the kernel's second question for the same page.
        time.sleep(0.5)
        for path in files:
            path.read_bytes()


def test_a_mirror_without_ranges_is_passed_over(
    lazy: str,
    mirror: Gateway,
    origin: Gateway,
    lazypull: Lazypull,
    expected: tree.Tree,
    workspace: Workspace,
) -> None:
    """Where the registry gives ranges, a mirror that does not is asked for none but the first."""
    option, name = named(origin, mirror, lazy, workspace)
    mirror.behaviour.knows_ranges = False
    with lazypull.mount(name, workspace / "cache", None, option) as mounted:
        tree.assert_same(expected, read_all(mounted.path))
        assert sum("host sends no ranges" in line for line in mounted.log_lines()) <= 5
    assert ranges(origin) > 0
    asked = [seen for seen in mirror.seen if seen.range]
    assert len(asked) <= 5, "once it is known, for all blobs: at most once a thread"


def test_a_mirror_without_ranges_is_better_than_none(
    lazy: str,
    mirror: Gateway,
    origin: Gateway,
    lazypull: Lazypull,
    expected: tree.Tree,
    workspace: Workspace,
) -> None:
    """Where the registry is down, its mirror's whole blobs are read."""
    option, name = named(origin, mirror, lazy, workspace)
    mirror.behaviour.knows_ranges = False
    with lazypull.mount(name, workspace / "cache", None, option) as mounted:
        origin.fault("503", "GET", "/blobs/", times=10_000)
        tree.assert_same(expected, read_all(mounted.path))


def test_what_passes_is_kept(
    lazy: str,
    mirror: Gateway,
    lazypull: Lazypull,
    expected: tree.Tree,
    workspace: Workspace,
) -> None:
    """Of a registry that sends whole blobs, the cache has all that passed, also the next time."""
    mirror.behaviour.knows_ranges = False
    name = f"{mirror.address}/{lazy.split('/', 1)[1]}"
    with lazypull.mount(name, workspace / "cache", None) as mounted:
        tree.assert_same(expected, read_all(mounted.path))
    sent = wholes(mirror)
    repeated = {path for path in sent if sent.count(path) > 2}
    assert not repeated, f"sent more often than once by mistake and once whole: {repeated}"
    asked = [seen for seen in mirror.seen if seen.range]
    assert len(asked) <= 6, "the host is known not to have ranges, whatever the blob"
    mirror.seen.clear()
    with lazypull.mount(name, workspace / "cache", None) as mounted:
        tree.assert_same(expected, read_all(mounted.path))
    assert not [seen for seen in mirror.seen if seen.range], "all is here"
