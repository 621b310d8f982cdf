# SPDX-License-Identifier: Apache-2.0
"""How a command is measured: its time, and the memory of whoever works for it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """What one run of one side took.

    CPU time includes that of the process behind a mount. Peak memory is that process's, or the
    converter's; a pipeline and the kernel's file system have no such number.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class View:
    """A mounted image, and the process that serves it; the kernel serves without one."""

    path: Path
    server: int | None


def measure(
    command: list[str | Path], view: View | None = None, watch_memory: bool = False
) -> Sample:
    """Runs a command to its end, inside a mounted image if one is given."""
    server = view.server if view else None
    before = cpu_seconds(server)
    started = time.perf_counter()
    process = subprocess.Popen(
        command,
        cwd=view.path if view else None,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    watch = MemoryWatch(process.pid)
    if watch_memory:
        watch.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"benchmark: {shlex.join(map(str, command))} failed")
    return Sample(
        wall_seconds=wall,
        cpu_seconds=usage.ru_utime + usage.ru_stime + cpu_seconds(server) - before,
        peak_memory_bytes=watch.result() if watch_memory else peak_memory(server),
    )


def cpu_seconds(server: int | None) -> float:
    """The CPU time of a running process so far; none for the kernel."""
    if server is None:
        return 0.0
    # The name, in parentheses, may hold blanks; user and system time are fields 14 and 15.
    fields = Path(f"/proc/{server}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory(server: int | None) -> int:
    """The largest resident size of a process so far; none for the kernel, and after the end."""
    if server is None:
        return 0
    status = Path(f"/proc/{server}/status").read_text()
    lines = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0


class MemoryWatch(threading.Thread):
    """Follows a command's peak memory: wait4's ru_maxrss would start at that of this Python."""

    INTERVAL = 0.01

    def __init__(self, process: int) -> None:
        super().__init__(daemon=True)
        self.process = process
        self.peak = 0

    def run(self) -> None:
        try:
            while now := peak_memory(self.process):
                self.peak = now
                time.sleep(self.INTERVAL)
        except OSError:
            # The process has been waited for, and its directory in /proc is gone.
            pass

    def result(self) -> int:
        """The peak, once the command has ended."""
        self.join()
        return self.peak


def sync_times(directory: Path) -> list[float]:
    """Seconds that the disk takes to keep one small write."""
    times = []
    with open(directory / "sync", "wb", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(4096))
            begin = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - begin)
    return times
