# SPDX-License-Identifier: Apache-2.0
"""Registries that are reached through a proxy only, as in many data centres."""

from __future__ import annotations

import http.client
import os
import select
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest

import nginx
from commands import Lazypull
from registries import Stored, certificate, hosts, hosts_name, store
from services import Registry
from workspace import Workspace

# What no resolver knows: who reaches it went through the proxy.
NAME = "registry.invalid"
FILES = 3


class Proxy:
    """A forward proxy that knows one name, and tunnels."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        # Where the name leads to.
        self.address = ("127.0.0.1", 0)
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            """What a proxy is asked."""

            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                """Nothing."""

            def do_CONNECT(self) -> None:
                """A tunnel to wherever the name leads."""
                proxy.seen.append(f"CONNECT {self.path}")
                with socket.create_connection(proxy.address) as server:
                    self.send_response(200)
                    self.end_headers()
                    tunnel(self.connection, server)
                self.close_connection = True

            def do_GET(self) -> None:
                """A request with the whole address in its first line."""
                proxy.seen.append(f"GET {self.path}")
                address = urlsplit(self.path)
                connection = http.client.HTTPConnection(*proxy.address)
                connection.request(
                    "GET", f"{address.path}?{address.query}".rstrip("?"), headers=dict(self.headers)
                )
                answer = connection.getresponse()
                body = answer.read()
                self.send_response(answer.status)
                for name, value in answer.getheaders():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                        self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                connection.close()

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """For the environment."""
        return f"http://127.0.0.1:{self.server.server_port}"

    def leads_to(self, address: str) -> None:
        """The name is this host and port from now on."""
        host, port = address.split(":")
        self.address = (host, int(port))


def tunnel(client: socket.socket, server: socket.socket) -> None:
    """Bytes both ways, until one side has no more."""
    while True:
        for end in select.select([client, server], [], [])[0]:
            data = end.recv(65536)
            if not data:
                return
            (server if end is client else client).sendall(data)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    """A proxy that ends with the test."""
    proxy = Proxy()
    yield proxy
    proxy.server.shutdown()
    proxy.server.server_close()


@pytest.fixture
def stored(lazypull: Lazypull, workspace: Workspace) -> Stored:
    """An image whose every file is a range of its own."""
    return store(lazypull, Registry(workspace), FILES, 100_000)


def environment(**proxies: str) -> dict[str, str]:
    """Ours, with these proxies and no other."""
    rest = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return {**rest, **proxies}


def test_plain_http_through_a_proxy(
    stored: Stored, proxy: Proxy, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Documents and ranges go through the proxy; without it the name is unknown."""
    proxy.leads_to(stored.registry.address)
    name = f"docker://{NAME}:5000/app@{stored.image.digest}"
    with lazypull.mount(
        name, workspace / "cache", None, "--plain-http", "--read-ahead=0",
        env=environment(http_proxy=proxy.url),
    ) as mounted:  # fmt: skip
        for number in range(FILES):
            assert (mounted.path / f"d/{number}").read_bytes() == stored.content(number)
    assert [line for line in proxy.seen if line.endswith(f"/blobs/{stored.blob}")], proxy.seen
    assert all(line.startswith(f"GET http://{NAME}:5000/v2/") for line in proxy.seen), proxy.seen
    asked = len(proxy.seen)
    for proxies in [{}, {"http_proxy": proxy.url, "no_proxy": NAME}]:
        result = lazypull.run("check", "--plain-http", name, env=environment(**proxies))
        assert result.code != 0 and NAME in result.errors, result
    assert len(proxy.seen) == asked


def test_tls_through_a_tunnel(
    stored: Stored, proxy: Proxy, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The proxy sees the name and nothing else; the certificate is the registry's."""
    authority, chain, key = certificate(workspace.path, NAME)
    proxy.leads_to(nginx.secure(workspace, stored.registry, chain, key).address)
    text = f'server = "https://{NAME}:5443"\nca = "{authority}"\n'
    option = hosts(workspace, hosts_name(f"{NAME}:5443"), text)
    name = f"docker://{NAME}:5443/app@{stored.image.digest}"
    with lazypull.mount(
        name, workspace / "cache", None, option, "--read-ahead=0",
        env=environment(https_proxy=proxy.url),
    ) as mounted:  # fmt: skip
        assert (mounted.path / "d/1").read_bytes() == stored.content(1)
    assert set(proxy.seen) == {f"CONNECT {NAME}:5443"}
