#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A link of a certain rate and round trip, between this machine and a namespace of its own.

    link.py PORT HOST PORT SECONDS

As a program it is the round trip: what passes from the first port here to the other place, and
back, comes so many seconds later each way. The rate is the kernel's token bucket (tc-tbf(8)), on
the way from the namespace. tc-netem(8) would do both, but not every kernel has it.
"""

from __future__ import annotations

import collections
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

# A network that nobody routes: TEST-NET-2 of RFC 5737.
HERE, THERE = "198.51.100.1", "198.51.100.2"
PIECE = 256 << 10
# Bytes on their way, in one direction of one connection: many times rate by round trip.
WINDOW = 64 << 20


@dataclass(frozen=True)
class Link:
    """A link that stands."""

    # Runs a command at the other end.
    prefix: list[str]
    seconds: float

    @contextmanager
    def port(self, there: int) -> Iterator[int]:
        """A port here that leads to one at the other end, with the round trip."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            here = probe.getsockname()[1]
        words = [sys.executable, __file__, here, THERE, there, self.seconds / 2]
        process = subprocess.Popen([str(word) for word in words], stdout=subprocess.PIPE)
        try:
            # It says so when it listens.
            process.stdout.readline()
            yield here
        finally:
            process.kill()
            process.wait()


@contextmanager
def link(rate: str | None, seconds: float) -> Iterator[Link]:
    """A namespace whose answers leave at a rate, as tc(8) writes it, or without a limit."""
    name = f"lazypull{os.getpid()}"
    outside = f"lp{os.getpid()}"
    tool(f"ip netns add {name}")
    try:
        tool(f"ip link add {outside} type veth peer name eth0 netns {name}")
        tool(f"ip addr add {HERE}/30 dev {outside}")
        tool(f"ip link set {outside} up")
        tool(f"ip -n {name} addr add {THERE}/30 dev eth0")
        tool(f"ip -n {name} link set eth0 up")
        tool(f"ip -n {name} link set lo up")
        if rate:
            tool(f"ip netns exec {name} tc qdisc add dev eth0 root tbf rate {rate}"
                 " burst 256kb limit 2mb")  # fmt: skip
        yield Link(["ip", "netns", "exec", name], seconds)
    finally:
        # At once: the namespace itself goes with the last process in it.
        subprocess.run(["ip", "link", "del", outside], check=False, capture_output=True)
        tool(f"ip netns del {name}")


def tool(command: str) -> None:
    """Runs a command that must succeed."""
    subprocess.run(command.split(), check=True)


# The program


class Pipe:
    """One direction of a connection: what comes in goes out later."""

    def __init__(self, source: socket.socket, target: socket.socket, seconds: float) -> None:
        self.source, self.target, self.seconds = source, target, seconds
        self.pieces: collections.deque[tuple[float, bytes]] = collections.deque()
        self.size = 0
        self.changed = threading.Condition()
        for work in (self.take, self.give):
            threading.Thread(target=work, daemon=True).start()

    def take(self) -> None:
        """Reads, and notes when it is due."""
        while True:
            try:
                piece = self.source.recv(PIECE)
            except OSError:
                piece = b""
            with self.changed:
                self.changed.wait_for(lambda: self.size < WINDOW)
                self.pieces.append((time.monotonic() + self.seconds, piece))
                self.size += len(piece)
                self.changed.notify_all()
            if not piece:
                return

    def give(self) -> None:
        """Writes what is due."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.pieces)
                due, piece = self.pieces.popleft()
                self.size -= len(piece)
                self.changed.notify_all()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not piece:
                    return self.target.shutdown(socket.SHUT_WR)
                self.target.sendall(piece)
            except OSError:
                # The one side is gone: the other is told.
                return self.source.close()


def serve(port: int, target: tuple[str, int], seconds: float) -> None:
    """Passes on whatever comes, until the end."""
    listener = socket.create_server(("127.0.0.1", port), backlog=128)
    print("ready", flush=True)
    while True:
        inside, _ = listener.accept()
        threading.Thread(target=connect, args=(inside, target, seconds), daemon=True).start()


def connect(inside: socket.socket, target: tuple[str, int], seconds: float) -> None:
    """Joins a connection with one to the target, a round trip later, as it is with real ones."""
    outside = socket.create_connection(target)
    for connection in (inside, outside):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    time.sleep(2 * seconds)
    Pipe(inside, outside, seconds)
    Pipe(outside, inside, seconds)


if __name__ == "__main__":
    serve(int(sys.argv[1]), (sys.argv[2], int(sys.argv[3])), float(sys.argv[4]))
