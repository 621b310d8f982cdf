# SPDX-License-Identifier: Apache-2.0
"""A token server for Debian's docker-registry: JSON Web Tokens that the registry verifies itself."""

from __future__ import annotations

import base64
import json
import re
import secrets
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from gateway import PASSWORD, USER
from registries import certificate
from services import Registry
from workspace import Workspace

SERVICE, ISSUER = "registry of the tests", "token server of the tests"
IDENTITY = "identity-token-never-shown"
# How long after its end docker-registry 2.8 accepts a token, in seconds.
LEEWAY = 60


class TokenServer:
    """Gives tokens to whoever has the password or the identity token, and none for `locked`."""

    def __init__(self, workspace: Workspace) -> None:
        self.directory = workspace.directory("tokens")
        self.authority, chain, self.key = certificate(self.directory)
        der = subprocess.run(
            ["openssl", "x509", "-in", chain, "-outform", "DER"], check=True, capture_output=True
        ).stdout
        self.header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        # How long the registry takes a token, and how long the answer says that it does.
        self.seconds, self.told_seconds = 60.0, 60
        self.scopes: list[str] = []
        server = self

        class Handler(_Handler):
            tokens = server

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def registry(self, workspace: Workspace) -> Registry:
        """A registry that wants these tokens."""
        return Registry(
            workspace,
            f"auth:\n  token:\n    realm: http://{self.address}/token\n    service: {SERVICE}\n"
            f"    issuer: {ISSUER}\n    rootcertbundle: {self.authority}\n",
        )

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def token(self, scopes: list[str]) -> str:
        """A signed token for all of the scopes that are granted."""
        now = time.time()
        access = []
        for scope in scopes:
            kind, name, actions = re.fullmatch(r"(\w+):(.+):([\w,*]+)", scope).groups()
            granted = [] if name.startswith("locked") else actions.split(",")
            access.append({"type": kind, "name": name, "actions": granted})
        end = int(now + self.seconds - LEEWAY)
        claims = {
            "iss": ISSUER, "sub": USER, "aud": SERVICE, "exp": end, "nbf": end - 600,
            "iat": end - 600, "jti": secrets.token_hex(8), "access": access,
        }  # fmt: skip
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (self.header, claims))
        return f"{signed}.{_encoded(_signature(signed.encode(), self.key))}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens: TokenServer

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""

    def do_GET(self) -> None:
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self._give(
            parse_qs(urlsplit(self.path).query),
            self.headers.get("Authorization") == f"Basic {expected}",
        )

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert form["grant_type"] == ["refresh_token"], form
        self._give(form, form.get("refresh_token") == [IDENTITY])

    def _give(self, query: dict[str, list[str]], is_known: bool) -> None:
        status, answer = 401, {"errors": [{"code": "UNAUTHORIZED", "message": "who are you?"}]}
        if is_known:
            assert query["service"] == [SERVICE], query
            # One parameter each, or all in one with blanks between.
            scopes = " ".join(query["scope"]).split()
            self.tokens.scopes += scopes
            token = self.tokens.token(scopes)
            name = "access_token" if self.command == "POST" else "token"
            status, answer = 200, {name: token, "expires_in": self.tokens.told_seconds}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _signature(data: bytes, key: Path) -> bytes:
    """ES256 (RFC 7518): both numbers with 32 bytes each; OpenSSL writes them as DER."""
    der = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", key], input=data, check=True, capture_output=True
    ).stdout
    assert der[0] == 0x30 and der[2] == 0x02, der.hex()
    middle = 4 + der[3]
    first, second = der[4:middle], der[middle + 2 :]
    return b"".join(int.from_bytes(part, "big").to_bytes(32, "big") for part in (first, second))
