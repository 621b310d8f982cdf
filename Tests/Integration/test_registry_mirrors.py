# SPDX-License-Identifier: Apache-2.0
"""Mirrors: reads go on whatever becomes of them, and the log says who served."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

import nginx
from commands import Lazypull, Mounted
from gateway import Gateway
from registries import Stored, hosts, hosts_name, store
from services import Registry
from workspace import Workspace

FILES = 12


@pytest.fixture
def stored(lazypull: Lazypull, workspace: Workspace) -> Stored:
    """An image whose every file is a range of its own."""
    return store(lazypull, Registry(workspace), FILES, 200_000)


def mount(stored: Stored, mirrors: list[str], lazypull: Lazypull, *options: str) -> Mounted:
    """The image by a name for which the hosts.toml knows mirrors."""
    origin = stored.registry.address.replace("127.0.0.1", "localhost")
    text = f'server = "http://{origin}"\n'
    for mirror in mirrors:
        text += f'[host."http://{mirror}"]\ncapabilities = ["pull", "resolve"]\n'
    option = hosts(lazypull.workspace, hosts_name(origin), text)
    name = f"{origin}/app@{stored.image.digest}"
    cache = lazypull.workspace / "cache"
    return lazypull.mount(
        name, cache, None, option, "--read-ahead=0", "--log-level=debug", *options
    )


def read_all(stored: Stored, mounted: Mounted) -> None:
    """Every file, several at a time."""

    def read(number: int) -> bool:
        return (mounted.path / f"d/{number}").read_bytes() == stored.content(number)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(FILES)))


def served(mounted: Mounted, blob: str) -> list[str]:
    """The lines that say who served ranges of the blob."""
    return [line for line in mounted.log_lines() if " served " in line and blob in line]


def nobody(workspace: Workspace, stored: Stored) -> str:
    """A mirror that is down."""
    return "127.0.0.1:1"


def empty(workspace: Workspace, stored: Stored) -> str:
    """A mirror that has nothing."""
    return Registry(workspace).address


def range_less(workspace: Workspace, stored: Stored) -> str:
    """A mirror that sends all of a blob, whatever is asked for."""
    return nginx.range_less(workspace, stored.registry).address


@pytest.mark.parametrize("mirror", [nobody, empty, range_less])
def test_reads_go_on(
    mirror: Callable[[Workspace, Stored], str],
    stored: Stored,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """What a mirror does not give, the registry does; the log says so, and not for every read."""
    address = mirror(workspace, stored)
    with mount(stored, [address], lazypull) as mounted:
        read_all(stored, mounted)
        lines = mounted.log_lines()
        assert not [line for line in lines if " error " in line]
        assert [line for line in lines if " warning " in line and address in line], lines
        origin = stored.registry.address.split(":")[1]
        by_origin = [line for line in served(mounted, stored.blob) if f"localhost:{origin}" in line]
        assert by_origin, lines
        warnings = [line for line in lines if " warning " in line and stored.blob in line]
        assert len(warnings) <= 4, warnings


def test_a_mirror_that_dies(stored: Stored, lazypull: Lazypull) -> None:
    """A mirror that served is gone: the next read is served by the registry, soon."""
    with Gateway(stored.registry.address) as mirror:
        mounted = mount(stored, [mirror.address], lazypull)
        assert (mounted.path / "d/0").read_bytes() == stored.content(0)
        assert mirror.address in served(mounted, stored.blob)[-1]
    with mounted:
        start = time.monotonic()
        read_all(stored, mounted)
        assert time.monotonic() - start < 10
        assert mirror.address not in served(mounted, stored.blob)[-1]


def test_a_pull_through_cache(stored: Stored, lazypull: Lazypull, workspace: Workspace) -> None:
    """docker-registry's proxy mode as a mirror: it has the image after the first reads."""
    proxy = Registry(workspace, f"proxy:\n  remoteurl: http://{stored.registry.address}\n")
    with mount(stored, [proxy.address], lazypull) as mounted:
        read_all(stored, mounted)
        assert not [line for line in mounted.log_lines() if " error " in line]
        assert f"http://{proxy.address}" in "".join(served(mounted, "manifest"))
