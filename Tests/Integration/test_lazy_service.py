# SPDX-License-Identifier: Apache-2.0
"""Mounts of converted images, as `lazypull serve-snapshotter` makes, keeps and ends them."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

import kernel
from commands import Lazypull
from lazy import BALLAST, Container, Image, LazyService, Readers
from workspace import Workspace, wait_until


@pytest.fixture
def image(lazypull: Lazypull, workspace: Workspace) -> Image:
    return Image(lazypull, workspace)


def image_mounts(workspace: Workspace) -> list[Path]:
    """Where images are mounted."""
    return [mount.path for mount in kernel.mounts_below(workspace / "root")]


def switches(process: int) -> int:
    """How often a process with one thread was switched to another."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)


def test_an_image_that_nobody_uses_is_unmounted(
    binary: Path, image: Image, workspace: Workspace
) -> None:
    service = LazyService(binary, workspace, "--unmount-after", "1").start()
    service.provide(image)
    container = Container(service, image, workspace, "one")
    # Longer than one that nobody uses stays.
    time.sleep(3)
    assert len(image_mounts(workspace)) == 1
    assert (container.path / "d/greeting").read_bytes() == b"hello\n"
    container.unmount()
    service.remove("one")
    wait_until(lambda: not image_mounts(workspace), "the mount to end")
    wait_until(lambda: not service.states(), "what is kept of it to go")
    # Another container finds it mounted anew.
    other = Container(service, image, workspace, "two")
    assert (other.path / "ballast").read_bytes() == BALLAST
    service.stop()


def test_the_holder_sleeps_while_containers_read(
    binary: Path, image: Image, workspace: Workspace
) -> None:
    """A descriptor that is polled wakes who polls it for every request."""
    service = LazyService(binary, workspace).start()
    service.provide(image)
    container = Container(service, image, workspace, "one")
    (holder,) = service.holders()
    with Readers(container) as readers:
        before = switches(holder)
        readers.await_reads(1000)
    assert switches(holder) - before < 100


@pytest.mark.skipif(kernel.version() < (6, 9), reason="no takeover before Linux 6.9")
def test_a_holder_that_is_slow_is_waited_for(
    binary: Path, image: Image, workspace: Workspace
) -> None:
    service = LazyService(binary, workspace).start()
    service.provide(image)
    container = Container(service, image, workspace, "one")
    with Readers(container) as readers:
        readers.await_reads(5)
        (holder,) = service.holders()
        os.kill(holder, signal.SIGSTOP)
        service.stop(signal.SIGKILL)
        # Longer than the service waits for one answer.
        threading.Timer(12, os.kill, (holder, signal.SIGCONT)).start()
        service.start()
        readers.await_reads(20)
    assert readers.failures == []
    assert service.holders() == [holder]


@pytest.mark.skipif(kernel.version() < (6, 9), reason="no takeover before Linux 6.9")
def test_a_mount_out_of_sight_is_served_on(
    binary: Path, image: Image, workspace: Workspace
) -> None:
    """An overlay lives on a mount that somebody has unmounted, and another is at its place."""
    service = LazyService(binary, workspace).start()
    service.provide(image)
    container = Container(service, image, workspace, "one")
    (place,) = image_mounts(workspace)
    kernel.unmount(place)
    other = Container(service, image, workspace, "two")
    with Readers(container) as readers, Readers(other) as others:
        # Until both mounts' kernels know that closing is nobody's business: starting a program closes
        # the readers' files, and nobody would answer.
        readers.await_reads(5)
        others.await_reads(5)
        for _ in range(3):
            service.stop(signal.SIGKILL)
            service.start()
            readers.await_reads(20)
            others.await_reads(20)
    assert readers.failures == others.failures == []
    assert len(service.states()) == 2
    # Its last user ends, and with it what was kept for it.
    container.unmount()
    wait_until(lambda: len(service.states()) == 1, "the session to end")


@pytest.mark.skipif(kernel.version() < (6, 9), reason="no takeover before Linux 6.9")
def test_a_start_that_runs_short_gives_up_no_mount(
    binary: Path, image: Image, workspace: Workspace
) -> None:
    """Too few descriptors to take anything over: the service ends, and the next one has it all."""
    service = LazyService(binary, workspace).start()
    service.provide(image)
    container = Container(service, image, workspace, "one")
    with Readers(container) as readers:
        readers.await_reads(5)
        kept = service.states()
        for limit in (16, 20, 24, 28):
            service.stop(signal.SIGKILL)
            launcher = ("prlimit", f"--nofile={limit}:{limit}")
            with pytest.raises(AssertionError, match="Too many open files"):
                service.start(launcher=launcher)
            assert service.states() == kept
            service.start()
            readers.await_reads(5)
    assert readers.failures == []


@pytest.mark.limit(600)
def test_mounts_are_made_again_without_the_registry(
    binary: Path, image: Image, workspace: Workspace, tables: dict[str, list[str]]
) -> None:
    """As after a reboot: 200 images are mounted from what is stored here."""
    count = 200
    service = LazyService(binary, workspace).start()
    images = [image.variant(number) for number in range(1, count + 1)]
    for number, variant in enumerate(images):
        service.provide(variant)
        service.prepare(variant, f"container-{number}")
    service.process.send_signal(signal.SIGSTOP)
    for holder in service.holders():
        os.kill(holder, signal.SIGKILL)
    service.stop(signal.SIGKILL)
    image.registry.process.send_signal(signal.SIGSTOP)
    begin = time.monotonic()
    service.start()
    started = time.monotonic() - begin
    assert image_mounts(workspace) == []
    for number in range(count):
        (mount,) = service.call("Mounts", {2: f"container-{number}"}).messages(1)
        assert mount.text(1) == "overlay"
    elapsed = time.monotonic() - begin - started
    tables.setdefault("Mounts of 200 images without their registry", []).append(
        f"start {started:.2f} s, Mounts {elapsed:.2f} s in all, each by a process of curl"
    )
    assert len(image_mounts(workspace)) == count
    image.registry.process.send_signal(signal.SIGCONT)
