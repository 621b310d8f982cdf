# SPDX-License-Identifier: Apache-2.0
"""Debian's nginx before a registry: TLS, HTTP/2, redirects to signed addresses, no ranges."""

from __future__ import annotations

import base64
import hashlib
import http.server
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from services import Registry, free_port
from workspace import Workspace, wait_until

SECRET = "known to both sides"

# One process in the foreground, everything below the workspace.
CONFIGURATION = """\
daemon off;
master_process off;
pid {directory}/pid;
error_log {directory}/error.log warn;
events {{ worker_connections 256; }}
http {{
    log_format test '$connection $server_protocol $request_method $status $body_bytes_sent '
                    '"$http_range" $request_uri';
    access_log {directory}/access.log test;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    client_max_body_size 0;
    types {{ }}
    default_type application/octet-stream;
    sendfile on;
    http2_max_requests 1000000;
    keepalive_requests 1000000;
    {server}
}}
"""

# Nothing but the log.
PLAIN = """\
    server {{
        listen {address};
        location / {{
            proxy_pass http://{upstream};
            proxy_set_header Host $http_host;
        }}
    }}
"""

# A registry by TLS, over which clients and nginx agree on HTTP/2.
SECURE = """\
    server {{
        listen {address} ssl http2;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        location / {{
            proxy_pass http://{upstream};
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_request_buffering off;
        }}
    }}
"""

# Blobs are at addresses that hold for a while, as in a store behind a registry: nginx's own
# module checks the signature, and says 410 when its time is over.
SIGNED = """\
    server {{
        listen {address};
        location / {{
            proxy_pass http://{upstream};
            proxy_set_header Host $http_host;
        }}
        location /store/ {{
            secure_link $arg_md5,$arg_expires;
            secure_link_md5 "$secure_link_expires$uri {secret}";
            if ($secure_link = "") {{ return 403; }}
            if ($secure_link = "0") {{ return 410; }}
            if ($http_authorization) {{ return 400; }}
            rewrite ^/store(/.*)$ $1 break;
            proxy_pass http://{upstream};
        }}
        location ~ ^/v2/.*/blobs/sha256: {{
            proxy_pass http://{signer};
        }}
    }}
"""

# Whatever is asked for, all of it is sent.
RANGE_LESS = """\
    server {{
        listen {address};
        location / {{
            proxy_pass http://{upstream};
            proxy_set_header Host $http_host;
            proxy_set_header Range "";
            proxy_force_ranges off;
            max_ranges 0;
        }}
    }}
"""


@dataclass(frozen=True)
class Request:
    """A line of the access log."""

    connection: int
    protocol: str
    method: str
    status: int
    size: int
    range: str | None
    path: str


class Nginx:
    """The server, on a port of this machine that was free; with a prefix it runs elsewhere."""

    def __init__(
        self,
        workspace: Workspace,
        server: str,
        prefix: list[str] = [],
        host: str = "127.0.0.1",
        **words: object,
    ) -> None:
        port = free_port()
        self.directory = workspace.directory(f"nginx-{port}")
        self.address = f"{host}:{port}"
        text = server.format(address=self.address, secret=SECRET, **words)
        configuration = self.directory / "nginx.conf"
        configuration.write_text(CONFIGURATION.format(directory=self.directory, server=text))
        with open(self.directory / "output", "wb") as output:
            self.process = workspace.start(
                [*prefix, "nginx", "-p", self.directory, "-c", configuration, "-e",
                 self.directory / "error.log"],
                stdout=output, stderr=output,
            )  # fmt: skip
        wait_until(lambda: self.process.poll() is not None or self._answers(), "nginx")
        assert self.process.poll() is None, (self.directory / "output").read_text()

    def _answers(self) -> bool:
        return (self.directory / "pid").exists()

    def requests(self, containing: str = "") -> list[Request]:
        """What was answered so far, of paths with the text."""
        found = []
        for line in (self.directory / "access.log").read_text().splitlines():
            head, range, path = line.split('"')
            connection, protocol, method, status, size = head.split()
            if containing in path:
                found.append(
                    Request(int(connection), protocol, method, int(status), int(size),
                            None if range == "-" else range, path.strip())
                )  # fmt: skip
        return found


class Signer:
    """Sends who asks for a blob to its signed address; nginx passes such requests on to it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        signer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                """Nothing on standard error."""

            def do_GET(self) -> None:
                self.send_response(307)
                self.send_header("Location", signer.target(self.path))
                self.send_header("Content-Length", "0")
                self.end_headers()

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        # Set once nginx has one.
        self.store = ""
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def target(self, path: str) -> str:
        """The signed address of a blob."""
        expires = int(time.time() + self.seconds)
        uri = f"/store{path}"
        digest = hashlib.md5(f"{expires}{uri} {SECRET}".encode()).digest()
        signature = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        return f"http://{self.store}{uri}?md5={signature}&expires={expires}"

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@contextmanager
def signed(workspace: Workspace, registry: Registry, seconds: float) -> Iterator[Nginx]:
    """nginx before a registry whose blobs are at addresses that hold for so many seconds."""
    signer = Signer(seconds)
    try:
        server = Nginx(workspace, SIGNED, upstream=registry.address, signer=signer.address)
        # By another name: what is meant for the registry is not to be sent there.
        signer.store = server.address.replace("127.0.0.1", "localhost")
        yield server
    finally:
        signer.close()


def plain(workspace: Workspace, registry: Registry) -> Nginx:
    """nginx before a registry, which counts."""
    return Nginx(workspace, PLAIN, upstream=registry.address)


def secure(workspace: Workspace, registry: Registry, chain: Path, key: Path) -> Nginx:
    """nginx before a registry, with TLS and HTTP/2."""
    return Nginx(workspace, SECURE, upstream=registry.address, certificate=chain, key=key)


def range_less(workspace: Workspace, registry: Registry) -> Nginx:
    """nginx before a registry, without ranges."""
    return Nginx(workspace, RANGE_LESS, upstream=registry.address)
