# SPDX-License-Identifier: Apache-2.0
"""What a person sees when the state of `lazypull serve-snapshotter` is not as it should be."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

import kernel
from workspace import LIMIT, Workspace, wait_until


class Service:
    """The snapshotter on `root` in the workspace, with its log in `log`."""

    def __init__(
        self, binary: Path, workspace: Workspace, address: str = "socket", *options: str | Path
    ) -> None:
        self.root = workspace / "root"
        self.socket = workspace / address
        self.log_path = workspace / "log"
        with open(self.log_path, "wb") as log:
            self.process = workspace.start(
                [binary, "serve-snapshotter", "--config", "/dev/null", "--root", self.root,
                 "--address", self.socket, "--admin-address", workspace / "admin",
                 "--log-level", "info", *options],
                stdout=log, stderr=log,
            )  # fmt: skip

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def started(self) -> Service:
        """The service once it answers."""
        wait_until(
            lambda: self.process.poll() is not None or self.socket.exists(), "the snapshotter"
        )
        assert self.process.poll() is None, self.log
        return self

    def refused(self, *naming: str) -> None:
        """Fails unless the service has ended with a message that names each of these."""
        assert self.process.wait(LIMIT) not in (0, None), self.log
        assert self.process.returncode > 0, f"died of a signal: {self.log}"
        for name in naming:
            assert name in self.log, self.log

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(LIMIT)
        if number == signal.SIGTERM:
            assert self.process.returncode == 0, self.log


def test_the_log_in_json(binary: Path, workspace: Workspace) -> None:
    service = Service(binary, workspace, "socket", "--log-format=json").started()
    service.stop()
    events = [json.loads(line) for line in service.log.splitlines()]
    assert [event["msg"] for event in events if event["level"] == "info"] == [
        "serving", "stopping", "stopped",
    ]  # fmt: skip
    assert all(datetime.fromisoformat(event["time"]).utcoffset() == timedelta() for event in events)
    serving = next(event for event in events if event["msg"] == "serving")
    assert serving["root"] == str(service.root)
    assert list(serving)[:3] == ["time", "level", "msg"]


def test_what_can_be_is_reloaded(binary: Path, workspace: Workspace) -> None:
    """The log changes at once; what needs a restart is named, and a wrong file changes nothing."""
    configuration = workspace / "config.toml"
    configuration.write_text("")
    log_path = workspace / "log"
    with open(log_path, "wb") as log:
        process = workspace.start(
            [binary, "serve-snapshotter", "--config", configuration, "--root", workspace / "root",
             "--address", workspace / "socket", "--admin-address", workspace / "admin"],
            stdout=log, stderr=log,
        )  # fmt: skip
    wait_until((workspace / "socket").exists, "the snapshotter")

    def reloaded(text: str, until: str) -> str:
        """What is logged about a file, until this is."""
        start = len(log_path.read_text())
        configuration.write_text(text)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: until in log_path.read_text()[start:], until)
        return log_path.read_text()[start:]

    try:
        wait_until(lambda: " serving " in log_path.read_text(), "the service to listen for signals")
        read_again, warned = "configuration read again", "when the service is started again"
        log = reloaded('[snapshotter]\nlog-level = "debug"\nlog-levle = 1\n', "stays as it was")
        assert f"{configuration}:3:13: [snapshotter] has no key 'log-levle'" in log
        assert read_again not in log
        log = reloaded('[snapshotter]\nlog-format = "json"\nroot = "/elsewhere"\n', read_again)
        assert json.loads(log)["level"] == "info", "the command line's root goes first"
        reloaded("", read_again + "\n")
        assert warned not in log_path.read_text()
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


def test_what_needs_a_restart_is_named(binary: Path, workspace: Workspace) -> None:
    """One line has all of the keys that the file has changed, and none that it has not."""
    configuration = workspace / "config.toml"
    table = f'[snapshotter]\nroot = "{workspace / "root"}"\naddress = "{workspace / "socket"}"\n'
    configuration.write_text(f'{table}admin-address = "{workspace / "admin"}"\n')
    log_path = workspace / "log"
    with open(log_path, "wb") as log:
        process = workspace.start(
            [binary, "serve-snapshotter", "--config", configuration], stdout=log, stderr=log
        )
    wait_until(lambda: " serving " in log_path.read_text(), "the service to listen for signals")
    table = table.replace("/root", "/other-root")
    configuration.write_text(
        f'{table}admin-address = "{workspace / "other"}"\nlog-format = "json"\n'
    )
    process.send_signal(signal.SIGHUP)
    wait_until(lambda: "started again" in log_path.read_text(), "a warning")
    warning = json.loads(log_path.read_text().splitlines()[-1])
    assert (warning["level"], warning["keys"]) == ("warning", "root, admin-address")
    process.send_signal(signal.SIGTERM)
    assert process.wait(LIMIT) == 0
    assert not (workspace / "other-root").exists()


def write_snapshot(root: Path, number: int, parent: int | None = None) -> None:
    """A committed snapshot's directory, as the service leaves it."""
    upper = root / "snapshots" / str(number) / "fs"
    upper.mkdir(parents=True)
    (upper / "file").write_text("content")
    sidecar = {
        "version": 1, "id": number, "name": f"layer-{number}", "kind": "committed",
        "created_at": 1, "updated_at": 1, "labels": {}, "size": 4096, "inodes": 2,
    }  # fmt: skip
    if parent is not None:
        sidecar["parent"] = parent
    (upper.parent / "snapshot.json").write_text(json.dumps(sidecar))


def names(root: Path) -> list[str]:
    with sqlite3.connect(root / "snapshots.db") as database:
        return [name for (name,) in database.execute("SELECT name FROM snapshots ORDER BY id")]


def test_a_lost_database_is_made_again(binary: Path, workspace: Workspace) -> None:
    write_snapshot(workspace / "root", 1)
    write_snapshot(workspace / "root", 2, parent=1)
    service = Service(binary, workspace).started()
    assert "the database of the snapshots is missing" in service.log
    assert "made again from their directories" in service.log
    service.stop()
    assert names(service.root) == ["layer-1", "layer-2"]


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty"])
def test_a_damaged_database_is_moved_aside_and_made_again(
    binary: Path, workspace: Workspace, damage: str
) -> None:
    write_snapshot(workspace / "root", 1)
    Service(binary, workspace).started().stop()
    path = workspace / "root" / "snapshots.db"
    content = path.read_bytes()
    path.write_bytes({"garbage": os.urandom(9000), "truncated": content[:6000], "empty": b""}[damage])
    service = Service(binary, workspace).started()
    assert "is damaged: moved aside" in service.log
    assert str(path) in service.log
    service.stop()
    assert names(service.root) == ["layer-1"]
    assert (service.root / "snapshots" / "1" / "fs" / "file").read_text() == "content"
    kept = [path for path in service.root.iterdir() if re.search(r"\.damaged-\d+$", path.name)]
    assert len(kept) == 1


def test_a_newer_database_is_refused(binary: Path, workspace: Workspace) -> None:
    Service(binary, workspace).started().stop()
    path = workspace / "root" / "snapshots.db"
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    before = path.read_bytes()
    service = Service(binary, workspace)
    service.refused(str(path), "version 99", "newer lazypull", "up to 2")
    assert path.read_bytes() == before


def test_a_second_service_is_told_of_the_first(binary: Path, workspace: Workspace) -> None:
    first = Service(binary, workspace).started()
    second = Service(binary, workspace, address="other")
    second.refused(str(first.root), f"process {first.process.pid}")
    assert first.process.poll() is None
    first.stop()


def test_a_socket_needs_its_directory(binary: Path, workspace: Workspace) -> None:
    (workspace / "file").touch()
    Service(binary, workspace, address="file/socket").refused(f"{workspace / 'file'}")


def test_a_full_disk_is_said_at_the_start(binary: Path, workspace: Workspace) -> None:
    root = workspace.directory("root")
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=100", "tmpfs", root], check=True
    )
    try:
        (root / "fill").write_bytes(bytes(56 << 10))
        service = Service(binary, workspace)
        service.refused(str(root))
        assert "full" in service.log or "No space left" in service.log, service.log
        (root / "fill").unlink()
    finally:
        kernel.unmount(root, kernel.MNT_DETACH)


def test_it_starts_again_at_once_after_a_kill(binary: Path, workspace: Workspace) -> None:
    for number in range(1, 1001):
        write_snapshot(workspace / "root", number, parent=number - 1 if number % 10 != 1 else None)
    Service(binary, workspace).started().stop(signal.SIGKILL)
    (workspace / "socket").unlink(missing_ok=True)
    begin = time.monotonic()
    service = Service(binary, workspace).started()
    elapsed = time.monotonic() - begin
    print(f"1000 snapshots: {elapsed * 1000:.0f} ms to the socket, {_anonymous_memory(service)} kB")
    # 0.1 s on an idle machine; under a second is promised.
    assert elapsed < 10
    assert _anonymous_memory(service) < 40_000
    service.stop()


def _anonymous_memory(service: Service) -> int:
    """Kilobytes."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0])
