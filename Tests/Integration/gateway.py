# SPDX-License-Identifier: Apache-2.0
"""A server before a registry that does what registries of the world do: asks for tokens, redirects
to signed addresses, ignores ranges, breaks."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import secrets
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from workspace import LIMIT

USER = "tester"
PASSWORD = "p4ssw0rd-never-shown"
FAULTS = ["reset", "stall", "truncate", "corrupt", "429", "500", "503"]
# The methods that send a blob.
UPLOADS = ("POST", "PATCH", "PUT")


@dataclass
class Fault:
    """What goes wrong with requests that match, so many times."""

    kind: str
    method: str
    path: str
    times: int
    # How many pass unharmed before.
    after: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.times > 0 and method == self.method and re.search(self.path, path) is not None


@dataclass
class Seen:
    """A request that was answered."""

    method: str
    path: str
    status: int
    size: int
    range: str | None
    is_authorized: bool


@dataclass
class Behaviour:
    """How the gateway behaves; changed while it runs."""

    # Seconds a token lives; None asks for none.
    token_seconds: float | None = None
    # Seconds a signed address lives; None redirects nobody.
    signed_seconds: float | None = None
    knows_ranges: bool = True
    # None passes mounts on.
    refuses_mounts: bool = False
    # Whether GET …/referrers/ is answered, from what was put through here.
    lists_referrers: bool = False
    # Whether it filters them by artifactType, and says so.
    filters_referrers: bool = False
    # Whether lists of tags come one by one.
    pages_tags: bool = False
    # Ranges are answered once so many requests for them are here.
    gathering: threading.Barrier | None = None
    faults: list[Fault] = field(default_factory=list)
    # How long a stall lasts, in seconds, and how long a body takes to come with the fault `slow`.
    stall: float = 5.0
    slow: float = 2.0


class Gateway:
    """The server, on a port of this machine that was free."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.behaviour = Behaviour()
        self.seen: list[Seen] = []
        self.tokens: dict[str, float] = {}
        self.token_requests = 0
        self.referrers: dict[str, list[dict]] = {}
        self._lock = threading.Lock()
        self._is_closing = threading.Event()
        gateway = self

        class Handler(_Handler):
            server_gateway = gateway

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """A client that goes away is nothing to report."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def fault(
        self, kind: str, method: str, path: str, times: int = 1, after: int = 0
    ) -> None:
        """Lets the next requests of that kind fail, or those after them."""
        self.behaviour.faults.append(Fault(kind, method, path, times, after))

    def wait(self, seconds: float) -> bool:
        """Passes time; true if the gateway is being closed meanwhile."""
        return self._is_closing.wait(seconds)

    def take_fault(self, method: str, path: str) -> str | None:
        """The fault that a request meets, if any; it is then used up."""
        with self._lock:
            for fault in self.behaviour.faults:
                if not fault.matches(method, path):
                    continue
                if fault.after > 0:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault.kind
        return None

    def note(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def make_token(self, seconds: float) -> str:
        with self._lock:
            self.token_requests += 1
            token = secrets.token_urlsafe(24)
            self.tokens[token] = time.monotonic() + seconds
            return token

    def sent_bytes(self, pattern: str) -> int:
        """The bytes of bodies that were sent in answer to such paths."""
        return sum(seen.size for seen in self.seen if re.search(pattern, seen.path))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_gateway: Gateway

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""

    def _handle(self) -> None:
        gateway, behaviour = self.server_gateway, self.server_gateway.behaviour
        path = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path.path == "/token":
            return self._give_token(parse_qs(path.query))
        if path.path.startswith("/signed/"):
            return self._serve_signed(path.path, parse_qs(path.query))
        if behaviour.token_seconds is not None and not self._is_authorized():
            challenge = f'Bearer realm="http://{gateway.address}/token",service="gateway"'
            return self._answer(401, b"{}", {"WWW-Authenticate": challenge})
        if behaviour.refuses_mounts and "mount=" in path.query:
            self.path = path.path
        match = re.fullmatch(r"/v2/(.+)/referrers/(sha256:[0-9a-f]{64})", path.path)
        if match and behaviour.lists_referrers:
            return self._list_referrers(match[2], parse_qs(path.query))
        if (
            behaviour.signed_seconds is not None
            and self.command == "GET"
            and "/blobs/sha256:" in path.path
        ):
            end = time.time() + behaviour.signed_seconds
            query = urlencode({"Expires": f"{end:.0f}", "Exact": f"{end}", "Signature": PASSWORD})
            # Another origin: what is meant for the registry is not to be sent there.
            store = gateway.address.replace("127.0.0.1", "localhost")
            target = f"http://{store}/signed{path.path}?{query}"
            return self._answer(307, b"", {"Location": target})
        if behaviour.pages_tags and path.path.endswith("/tags/list"):
            return self._list_tags(path.path, parse_qs(path.query))
        if behaviour.gathering and self.headers.get("Range"):
            self._gather(behaviour.gathering)
        self._forward(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def _is_authorized(self) -> bool:
        header = self.headers.get("Authorization") or ""
        end = self.server_gateway.tokens.get(header.removeprefix("Bearer "), 0)
        return time.monotonic() < end

    def _give_token(self, query: dict[str, list[str]]) -> None:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            return self._answer(401, b'{"details":"incorrect username or password"}')
        assert query["service"] == ["gateway"], query
        assert query["scope"][0].startswith("repository:"), query
        seconds = self.server_gateway.behaviour.token_seconds or 60
        token = self.server_gateway.make_token(seconds)
        answer = {"token": token, "expires_in": int(seconds)}
        self._answer(200, json.dumps(answer).encode())

    def _serve_signed(self, path: str, query: dict[str, list[str]]) -> None:
        # As S3: two kinds of authorization are one too many.
        if self.headers.get("Authorization"):
            return self._answer(400, b"Only one auth mechanism allowed")
        if time.time() > float(query["Exact"][0]):
            return self._answer(403, b"Request has expired")
        self.path = path.removeprefix("/signed")
        self._forward(b"")

    def _list_referrers(self, digest: str, query: dict[str, list[str]]) -> None:
        found = self.server_gateway.referrers.get(digest, [])
        page = int(query.get("page", ["0"])[0])
        headers = {"Content-Type": "application/vnd.oci.image.index.v1+json"}
        more = {}
        if wanted := query.get("artifactType"):
            more["artifactType"] = wanted[0]
            if self.server_gateway.behaviour.filters_referrers:
                found = [referrer for referrer in found if referrer["artifactType"] == wanted[0]]
                headers["OCI-Filters-Applied"] = "artifactType"
        if page + 1 < len(found):
            # One on each page, so that every list has several.
            address = f"{urlsplit(self.path).path}?{urlencode({**more, 'page': page + 1})}"
            headers["Link"] = f'<{address}>; rel="next"'
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": found[page : page + 1],
        }
        self._answer(200, json.dumps(index).encode(), headers)

    def _list_tags(self, path: str, query: dict[str, list[str]]) -> None:
        if fault := self.server_gateway.take_fault(self.command, path):
            return self._answer(int(fault), b'{"errors":[{"code":"TROUBLE"}]}')
        status, content = self._ask("GET", path)
        document = json.loads(content)
        page = int(query.get("page", ["0"])[0])
        tags = sorted(document.get("tags") or [])
        headers = {"Content-Type": "application/json"}
        if page + 1 < len(tags):
            headers["Link"] = f'<{path}?page={page + 1}>; rel="next"'
        document["tags"] = tags[page : page + 1]
        self._answer(status, json.dumps(document).encode(), headers)

    def _gather(self, gathering: threading.Barrier) -> None:
        """Waits until enough requests are here; once they were, for none any more."""
        try:
            gathering.wait(LIMIT)
        except threading.BrokenBarrierError:
            assert self.server_gateway.behaviour.gathering is None, "requests come one by one"
        self.server_gateway.behaviour.gathering = None

    def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Asks the registry something on the gateway's own behalf."""
        connection = http.client.HTTPConnection(self.server_gateway.upstream, timeout=LIMIT)
        try:
            connection.request(method, path)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def _forward(self, body: bytes) -> None:
        gateway = self.server_gateway
        fault = gateway.take_fault(self.command, self.path)
        if fault == "lost":
            # The registry forgets the upload; what it says of it then is its own answer.
            self._ask("DELETE", self.path)
            return self._answer(*self._ask("GET", self.path))
        if fault in ("429", "500", "503"):
            headers = {"Retry-After": "1"} if fault == "429" else {}
            body = b'{"errors":[{"code":"TROUBLE","message":"by the test"}]}'
            return self._answer(int(fault), body, headers)
        if self.command in UPLOADS:
            # What goes wrong goes wrong on the way there.
            if fault in ("reset", "stall"):
                return self._break_off(fault)
            if fault == "slow":
                gateway.wait(gateway.behaviour.slow)
            if fault == "corrupt":
                body = _corrupted(body)
            if fault == "truncate":
                body = body[: len(body) // 2]
        headers = {
            name: ", ".join(self.headers.get_all(name, []))
            for name in self.headers
            if name.lower() not in ("host", "authorization", "connection", "content-length")
        }
        if not gateway.behaviour.knows_ranges:
            headers.pop("Range", None)
        connection = http.client.HTTPConnection(gateway.upstream, timeout=60)
        try:
            connection.request(self.command, self.path, body or None, headers)
            response = connection.getresponse()
            content = response.read()
            self._pass_on(response, content, fault, body)
        finally:
            connection.close()

    def _pass_on(
        self, response: http.client.HTTPResponse, content: bytes, fault: str | None, body: bytes
    ) -> None:
        gateway = self.server_gateway
        headers = {
            name: value.replace(gateway.upstream, gateway.address)
            for name, value in response.getheaders()
            if name.lower() not in ("content-length", "connection", "date", "transfer-encoding")
        }
        length = len(content)
        if self.command == "HEAD":
            length = int(response.getheader("Content-Length") or 0)
        if self.command == "PUT" and "/manifests/" in self.path and gateway.behaviour.lists_referrers:
            self._note_subject(json.loads(body), body, headers)
        if self.command in UPLOADS:
            if fault == "truncate":
                # As a proxy does that lost the other half: nobody hears what the registry says.
                return self._break_off("reset")
            return self._answer(response.status, content, headers, length)
        if fault == "corrupt":
            content = _corrupted(content)
        if fault == "slow":
            return self._answer_slowly(response.status, content, headers)
        if fault in ("reset", "stall", "truncate"):
            content = content[: len(content) // 2]
        self._answer(response.status, content, headers, length)
        if fault in ("reset", "stall"):
            self._break_off(fault)
        if fault == "truncate":
            self.close_connection = True

    def _answer_slowly(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        parts = 40
        size = len(content) // parts + 1
        self._answer(status, content[:size], headers, len(content))
        for start in range(size, len(content), size):
            if self.server_gateway.wait(self.server_gateway.behaviour.slow / parts):
                return self._break_off("reset")
            self.wfile.write(content[start : start + size])

    def _note_subject(self, document: dict, body: bytes, headers: dict[str, str]) -> None:
        subject = document.get("subject")
        if not subject:
            return
        descriptor = {
            "mediaType": document["mediaType"],
            "digest": "sha256:" + hashlib.sha256(body).hexdigest(),
            "size": len(body),
            "artifactType": document.get("artifactType") or document["config"]["mediaType"],
        }
        known = self.server_gateway.referrers.setdefault(subject["digest"], [])
        if descriptor not in known:
            known.append(descriptor)
        headers["OCI-Subject"] = subject["digest"]

    def _answer(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] = {},
        length: int | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.server_gateway.note(
            Seen(
                self.command,
                self.path,
                status,
                len(body),
                self.headers.get("Range"),
                "Authorization" in self.headers,
            )
        )

    def _break_off(self, fault: str) -> None:
        """Ends the connection rudely, after a silence if it is to stall."""
        if fault == "stall":
            self.server_gateway.wait(self.server_gateway.behaviour.stall)
        self.connection.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
        self.close_connection = True
        self.connection.close()


def _corrupted(content: bytes) -> bytes:
    """One byte in the middle changed."""
    middle = len(content) // 2
    return content[:middle] + bytes(byte ^ 0xFF for byte in content[middle : middle + 1]) + (
        content[middle + 1 :]
    )
