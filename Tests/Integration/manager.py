# SPDX-License-Identifier: Apache-2.0
"""A service manager as far as a service sees it: sd_notify(3) with a store of descriptors."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

# Moves what was inherited to descriptor 3 and those that follow, as sd_listen_fds(3) has it.
_HANDOVER = """\
import os, sys
numbers = [os.dup2(int(number), 512 + index) for index, number in
           enumerate(filter(None, sys.argv[1].split(",")))]
for index, number in enumerate(numbers):
    os.dup2(number, 3 + index)
    os.close(number)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2], sys.argv[2:])
"""


class ServiceManager:
    """Keeps the descriptors of one service, or closes them as one without a store does."""

    def __init__(self, path: Path, *, keeps: bool) -> None:
        self.path = path
        self.keeps = keeps
        # Names, each with a descriptor of ours.
        self.store: list[tuple[str, int]] = []
        # Those that a real one would poll, and be woken by.
        self.polled: list[str] = []
        self._lock = threading.Lock()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while True:
            message, descriptors, _, _ = socket.recv_fds(self._socket, 4096, 16)
            fields = dict(line.split("=", 1) for line in message.decode().splitlines())
            with self._lock:
                self._take(fields, descriptors)

    def _take(self, fields: dict[str, str], descriptors: list[int]) -> None:
        name = fields.get("FDNAME", "stored")
        if fields.get("FDSTORE") == "1" and self.keeps:
            self.store += [(name, descriptor) for descriptor in descriptors]
            if fields.get("FDPOLL") != "0":
                self.polled.append(name)
            return
        # Of BARRIER, too: the sender waits for that.
        for descriptor in descriptors:
            os.close(descriptor)
        if fields.get("FDSTOREREMOVE") == "1":
            for entry in [entry for entry in self.store if entry[0] == name]:
                os.close(entry[1])
                self.store.remove(entry)

    def names(self) -> list[str]:
        """The names of what is kept."""
        with self._lock:
            return [name for name, _ in self.store]

    def command(self, *words: str | Path) -> tuple[list[str | Path], dict]:
        """A command that runs the service with what is kept, and options of `Popen` for it."""
        with self._lock:
            names = ":".join(name for name, _ in self.store)
            numbers = [number for _, number in self.store]
        environment = {**os.environ, "NOTIFY_SOCKET": str(self.path)}
        if numbers:
            environment |= {"LISTEN_FDS": str(len(numbers)), "LISTEN_FDNAMES": names}
        command = [sys.executable, "-c", _HANDOVER, ",".join(map(str, numbers)), *words]
        return command, {"env": environment, "pass_fds": numbers}
