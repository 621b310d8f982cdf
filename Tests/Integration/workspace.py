# SPDX-License-Identifier: Apache-2.0
"""A directory for one test, and the certainty that nothing outlives it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kernel

# How long anything may take that should be a matter of moments, on a machine that is busy with
# other work: no test measures time, this only turns a hang into a failure.
LIMIT = 60.0

# On disk, not in a tmpfs: user.* xattrs, file-backed EROFS and drop_caches are about disks.
BASE = Path("/var/tmp")

_active: list[Workspace] = []


class Workspace:
    """A fresh directory that every user may enter, with its mounts and processes."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="lazypull-test-", dir=BASE))
        # umoci's rule too: what is made in it without a mode of its own has the usual one.
        self.path.chmod(0o755)
        self._processes: list[subprocess.Popen] = []

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def directory(self, name: str) -> Path:
        """A new, empty directory."""
        path = self.path / name
        path.mkdir()
        return path

    def start(self, arguments: list[str | Path], **options) -> subprocess.Popen:
        """A process that ends with the workspace at the latest."""
        process = subprocess.Popen(arguments, **options)
        self._processes.append(process)
        return process

    def processes(self) -> list[int]:
        """Live processes, ours or nobody's child, with this directory in their command line."""
        needle = os.fsencode(self.path)
        return [process for process in _running() if needle in _command_line(process)]

    def release(self) -> None:
        """Kills the processes and undoes the mounts, in the order that cannot hang."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()
        for process in self.processes():
            # It may have ended by itself since the look at it.
            _ignoring(ProcessLookupError, lambda pid=process: os.kill(pid, signal.SIGKILL))
        mounts = kernel.mounts_below(self.path)
        for mount in mounts:
            if mount.filesystem.startswith("fuse"):
                _ignoring(OSError, lambda mount=mount: kernel.abort_fuse(mount))
        for mount in reversed(mounts):
            _ignoring(OSError, lambda mount=mount: kernel.unmount(mount.path, kernel.MNT_DETACH))
        for process in self._processes:
            process.wait(LIMIT)

    def remove(self) -> None:
        """Releases everything and deletes the directory."""
        self.release()
        shutil.rmtree(self.path)


@contextmanager
def open_workspace() -> Iterator[Workspace]:
    """A workspace for the length of a `with` block."""
    workspace = Workspace()
    _active.append(workspace)
    try:
        yield workspace
    finally:
        _active.remove(workspace)
        workspace.remove()


def release_all() -> None:
    """Ends what every open workspace runs: the way out of a test that hangs."""
    for workspace in list(_active):
        workspace.release()


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Polls `condition` and fails, naming what was awaited, when LIMIT has passed."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s in vain: {what}"
        time.sleep(0.01)


def _running() -> list[int]:
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [number for number in numbers if number != os.getpid()]


def _command_line(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def _ignoring(error: type[OSError], action: Callable[[], object]) -> None:
    try:
        action()
    except error:
        pass
