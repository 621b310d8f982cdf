# SPDX-License-Identifier: Apache-2.0
"""lazypull as its users call it: applets, exit codes, mounts, statistics."""

from __future__ import annotations

import errno
import json
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

import kernel
import oci
from rafs import ConvertedImage
from workspace import LIMIT, Workspace, wait_until

EXIT_DONE = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
# From here on, an exit code names a cause: not found, denied, corrupt and so on.
EXIT_NAMED_CAUSES = range(64, 126)
EXIT_NOT_FOUND = 64
EXIT_CORRUPT = 65
EXIT_DENIED = 66
EXIT_NO_SPACE = 67
EXIT_UNSUPPORTED = 68
EXIT_LIMIT_EXCEEDED = 69
EXIT_BUSY = 70
EXIT_INPUT_OUTPUT = 71


@dataclass(frozen=True)
class Result:
    """What a finished run left behind."""

    arguments: list[str]
    code: int
    output: str
    errors: str

    def assert_done(self) -> Result:
        """Fails unless the run succeeded."""
        assert self.code == EXIT_DONE, self
        return self

    def assert_refused(self, *naming: str, codes=(EXIT_FAILED, *EXIT_NAMED_CAUSES)) -> Result:
        """Fails unless the run ended with an error of its own that names each of `naming`."""
        assert self.code in codes, self
        assert self.errors.strip(), f"an exit code without a message: {self}"
        for name in naming:
            assert name in self.errors, f"the message does not name {name}: {self}"
        return self

    def document(self) -> dict:
        """The JSON on standard output, which must hold nothing else."""
        return json.loads(self.output)


def short(digest: str) -> str:
    """A digest as messages may shorten it: 12 hexadecimal digits."""
    return oci.hexadecimal(digest)[:12]


class Lazypull:
    """The binary, with runs that cannot outlive the workspace."""

    def __init__(self, binary: Path, workspace: Workspace) -> None:
        self.binary = binary
        self.workspace = workspace
        self._mounts = 0

    def start(self, *arguments: str | Path, prefix: list[str] = [], **options) -> subprocess.Popen:
        """A run that the caller waits for; output and errors go to pipes."""
        return self.workspace.start(
            [*prefix, self.binary, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )

    def run(self, *arguments: str | Path, **options) -> Result:
        """A run to its end, which must come, and must not be a trap."""
        process = self.start(*arguments, **options)
        # Waits for the pipes to close, too: a daemon that keeps them would hang its caller.
        output, errors = process.communicate(timeout=LIMIT)
        result = Result([str(part) for part in process.args], process.returncode, output, errors)
        assert result.code >= 0, f"ended by {signal.Signals(-result.code).name}: {result}"
        return result

    def convert(self, source: str, target: oci.Layout, tag: str, *options: str) -> ConvertedImage:
        """Converts, and must succeed."""
        self.run("convert", "--quiet", *options, source, target.reference(tag)).assert_done()
        return ConvertedImage(target, tag)

    def check(self, image: str, *options: str) -> Result:
        """Checks, with whatever outcome."""
        return self.run("check", *options, image)

    def unpack(self, image: str, target: Path, *options: str) -> Path:
        """Lays an image out as files, and must succeed."""
        self.run("unpack", "--quiet", *options, image, target).assert_done()
        return target

    def mount(
        self, image: str, cache: Path, target: Path | None = None, *options: str, **process
    ) -> Mounted:
        """Mounts in the foreground, so that the process is ours, and must succeed."""
        mounted = self.try_mount(image, cache, target, *options, **process)
        assert isinstance(mounted, Mounted), mounted
        return mounted

    def try_mount(
        self, image: str, cache: Path, target: Path | None = None, *options: str, **process
    ) -> Mounted | Result:
        """Mounts in the foreground, or says how the run ended."""
        self._mounts += 1
        if target is None:
            target = self.workspace.directory(f"mount{self._mounts}")
        log = self.workspace / f"mount{self._mounts}.log"
        process = self.start(
            "mount", "--foreground", "--cache-dir", cache, "--log-file", log, *options, image,
            target, **process,
        )  # fmt: skip
        mounted = Mounted(target, log, process)
        # The mount table says nothing: a dead process may have left a mount there. And while the
        # new one is tried by its own process, it is busy.
        wait_until(
            lambda: process.poll() is not None or mounted.is_announced(), f"the mount of {image}"
        )
        if process.poll() is not None:
            output, errors = process.communicate(timeout=LIMIT)
            assert process.returncode > 0, f"mount ended with {process.returncode}: {errors}"
            return Result([str(part) for part in process.args], process.returncode, output, errors)
        assert kernel.fuse_answers(target), f"{target} is not a living mount, as the log says"
        return mounted


class Mounted:
    """A mount that serves, and the foreground process behind it."""

    def __init__(self, path: Path, log: Path, process: subprocess.Popen) -> None:
        self.path = path
        self.log = log
        self.process = process

    def __enter__(self) -> Mounted:
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        # After a failure the workspace cleans up, and nothing here may hide the cause.
        if failure is None and self.process.poll() is None:
            self.unmount()

    def unmount(self) -> dict[str, int]:
        """umount(2), the end of the process, and its last statistics."""
        # A child that another thread is just starting has all our files until it executes.
        wait_until(self._is_unmounted, f"the end of the last use of {self.path}")
        return self._ended()

    def _is_unmounted(self) -> bool:
        try:
            kernel.unmount(self.path)
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def end(self, number: signal.Signals) -> dict[str, int]:
        """A signal, the end of the process, and its last statistics."""
        self.process.send_signal(number)
        return self._ended()

    def kill(self) -> None:
        """SIGKILL: the mount stays, and answers nothing."""
        self.process.kill()
        self.process.wait(LIMIT)

    def statistics(self) -> dict[str, int]:
        """The statistics as of now, asked for by SIGUSR1."""
        before = len(self._statistics_lines())
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(self._statistics_lines()) > before, "a statistics line")
        return _statistics(self._statistics_lines()[-1])

    def is_announced(self) -> bool:
        """Whether the log says that the mount is ready."""
        return any(re.search(r" info mounted\b", line) for line in self.log_lines())

    def log_lines(self) -> list[str]:
        """The log so far, line by line."""
        return self.log.read_text(errors="replace").splitlines() if self.log.exists() else []

    def _statistics_lines(self) -> list[str]:
        return [line for line in self.log_lines() if re.search(r"\bstatistics\b", line)]

    def _ended(self) -> dict[str, int]:
        _, errors = self.process.communicate(timeout=LIMIT)
        ending = f"ended with {self.process.returncode}: {errors}{self.log_lines()[-5:]}"
        assert self.process.returncode == EXIT_DONE, ending
        assert not kernel.is_mounted(self.path), "the process has ended, the mount has not"
        return _statistics(self._statistics_lines()[-1])


def _statistics(line: str) -> dict[str, int]:
    pairs = re.findall(r"([\w-]+)=(\d+)\b", line.split("statistics", 1)[1])
    return {key: int(value) for key, value in pairs}
