# SPDX-License-Identifier: Apache-2.0
"""Registries behind nginx, as most are: TLS and HTTP/2, signed addresses, no ranges."""

from __future__ import annotations

import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import nginx
from commands import EXIT_DENIED, Lazypull, Mounted
from registries import Stored, certificate, hosts, hosts_name, store
from services import Registry
from workspace import Workspace

FILES = 24
SIZE = 300_000


@pytest.fixture
def stored(lazypull: Lazypull, workspace: Workspace) -> Stored:
    """An image whose every file is a range of its own."""
    return store(lazypull, Registry(workspace), FILES, SIZE)


def assert_right(stored: Stored, mounted: Mounted, numbers: range = range(FILES)) -> None:
    """Reads files, several at a time."""

    def read(number: int) -> bool:
        return (mounted.path / f"d/{number}").read_bytes() == stored.content(number)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read, numbers))


def test_http2_with_an_authority_of_ones_own(
    stored: Stored, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Ranges share a connection or two, uploads too; without the authority nothing is read."""
    authority, chain, key = certificate(workspace.path)
    server = nginx.secure(workspace, stored.registry, chain, key)
    host = server.address.replace("127.0.0.1", "localhost")
    name = f"{host}/app@{stored.image.digest}"
    text = f'server = "https://{host}"\n'
    untrusting = hosts(workspace, hosts_name(host), text)
    result = lazypull.run("check", untrusting, name)
    assert result.code == EXIT_DENIED and "certificate" in result.errors, result
    assert host in result.errors and len(result.errors.strip().splitlines()) == 1, result
    option = hosts(workspace, hosts_name(host), f'{text}ca = "{authority}"\n')
    with lazypull.mount(
        name, workspace / "cache", None, option, "--read-ahead=0"
    ) as mounted:
        assert_right(stored, mounted)
    ranges = [seen for seen in server.requests(f"/blobs/{stored.blob}") if seen.range]
    assert len(ranges) == FILES and {seen.status for seen in ranges} == {206}, ranges
    assert {seen.protocol for seen in ranges} == {"HTTP/2.0"}, ranges
    assert len({seen.connection for seen in ranges}) <= 2, ranges
    lazypull.run(
        "push", "--quiet", option, stored.image.reference, f"{host}/other:tag"
    ).assert_done()
    sent = [seen for seen in server.requests("/other/blobs/uploads/") if seen.method != "GET"]
    assert sent and {seen.protocol for seen in sent} == {"HTTP/2.0"}, sent
    assert len({seen.connection for seen in sent}) <= 2, sent


def test_signed_addresses_that_expire(
    stored: Stored, lazypull: Lazypull, workspace: Workspace
) -> None:
    """An address is used again while it holds, and neither after that nor with our credentials."""
    with nginx.signed(workspace, stored.registry, seconds=3) as server:
        name = f"{server.address}/app@{stored.image.digest}"
        with lazypull.mount(name, workspace / "cache", None, "--read-ahead=0") as mounted:
            for part in range(4):
                assert_right(stored, mounted, range(part * 6, part * 6 + 6))
                time.sleep(1.2)
            errors = [line for line in mounted.log_lines() if " error " in line]
        assert not errors
        path = f"/blobs/{stored.blob}"
        asked = [seen for seen in server.requests(f"/v2/app{path}") if seen.status == 307]
        served = [seen for seen in server.requests("/store/") if path in seen.path]
        # How long an address holds is in the address: an end is foreseen, not run into.
        assert {seen.status for seen in served} == {206}, served
        assert len(served) == FILES, served
        asked = [seen for seen in asked if not seen.path.startswith("/store/")]
        assert 2 <= len(asked) <= FILES / 2, asked


def test_ranges_that_are_ignored(
    stored: Stored, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Where the whole is sent instead of a range, it is sent few times, not once for each read."""
    server = nginx.range_less(workspace, stored.registry)
    name = f"{server.address}/app@{stored.image.digest}"
    with lazypull.mount(name, workspace / "cache", None, "--read-ahead=0") as mounted:
        assert_right(stored, mounted)
        assert any("sends no ranges" in line for line in mounted.log_lines())
    sent = server.requests(f"/blobs/{stored.blob}")
    # Every fetching thread may have asked before the first was told.
    assert {seen.status for seen in sent} == {200} and len(sent) <= 8 + 2, sent


def test_skopeo_through_tls(stored: Stored, lazypull: Lazypull, workspace: Workspace) -> None:
    """Our images go out and come back by skopeo, equal; it reads what they say of themselves."""
    _, chain, key = certificate(workspace.path)
    server = nginx.secure(workspace, stored.registry, chain, key)
    there = f"docker://{server.address}/app:lazy"
    trust = ["--tls-verify=false"]
    inspected = subprocess.run(
        ["skopeo", "--insecure-policy", "inspect", *trust, "--raw", there],
        check=True, capture_output=True,
    ).stdout  # fmt: skip
    assert inspected == stored.image.layout.blob(stored.image.digest)
    subprocess.run(
        ["skopeo", "--insecure-policy", "inspect", *trust, there], check=True, capture_output=True
    )
    copied = f"docker://{server.address}/copied:lazy"
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false",
         "--dest-tls-verify=false", "--preserve-digests", there, copied],
        check=True,
    )  # fmt: skip
    name = f"{stored.registry.address}/copied@{stored.image.digest}"
    with lazypull.mount(name, workspace / "cache") as mounted:
        assert_right(stored, mounted)
