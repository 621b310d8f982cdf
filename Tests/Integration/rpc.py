# SPDX-License-Identifier: Apache-2.0
"""Calls over gRPC by curl, which knows HTTP/2 on unix sockets and prints trailers as headers."""

from __future__ import annotations

import struct
import subprocess
import urllib.parse
from pathlib import Path

from protobuf import Fields, Message, encode
from workspace import LIMIT

_PREFIX = struct.Struct(">BI")


class RPCError(Exception):
    """A call that the other side has refused."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (code {code})")
        self.code = code
        self.message = message


def call(socket: Path, method: str, request: Message) -> Fields:
    """The answer to a unary call."""
    answers = call_streaming(socket, method, request)
    assert len(answers) == 1, f"{method}: {len(answers)} messages"
    return answers[0]


def call_streaming(socket: Path, method: str, request: Message) -> list[Fields]:
    """All answers to a call.

    `method` is `package.Service/Method`.
    """
    message = encode(request)
    result = subprocess.run(
        ["curl", "--silent", "--show-error", "--http2-prior-knowledge", "--unix-socket", socket,
         "--header", "Content-Type: application/grpc", "--header", "TE: trailers",
         "--max-time", str(LIMIT), "--include", "--data-binary", "@-", "--output", "-",
         f"http://localhost/{method}"],
        input=_PREFIX.pack(0, len(message)) + message, capture_output=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()
    head, _, rest = result.stdout.partition(b"\r\n\r\n")
    answers = []
    # Trailers come behind the body, as lines of text: no message begins as they do.
    while rest[:1] in (b"\0", b"\1") and len(rest) >= _PREFIX.size:
        compressed, size = _PREFIX.unpack_from(rest)
        assert not compressed
        answers.append(Fields(rest[_PREFIX.size : _PREFIX.size + size]))
        rest = rest[_PREFIX.size + size :]
    trailers = dict(
        line.split(": ", 1)
        for line in (head + b"\r\n" + rest).decode().splitlines()
        if ": " in line
    )
    code = int(trailers["grpc-status"])
    if code != 0:
        raise RPCError(code, urllib.parse.unquote(trailers.get("grpc-message", "")))
    return answers
