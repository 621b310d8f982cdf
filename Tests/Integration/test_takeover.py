# SPDX-License-Identifier: Apache-2.0
"""Containers of converted images read on while `lazypull serve-snapshotter` dies and comes back."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from commands import Lazypull
from manager import ServiceManager
from node import CONTAINERD_16, Node
from scenarios import directory, file
from test_lazy_snapshotter import BALLAST, LazyNode, run
from workspace import Workspace, wait_until

FILES = 48
SIZE = 512 << 10

# Each reader takes one file after another in an order of its own, past the page cache: every read
# asks the service. What is wrong is printed, and a line now and then to see it going on.
READER = """\
read_on() {
    place=$1 count=0
    while [ ! -e /stop ]; do
        place=$(( (place * 1103515245 + 12345) % 2147483648 ))
        name=$(( place / 65536 % FILES ))
        dd if=/data/$name bs=65536 iflag=direct 2>/message$1 >/copy$1 ||
            echo "error $name: $(cat /message$1)"
        [ "$(sha256sum </copy$1 | cut -c 1-64)" = "$(cat /sums/$name)" ] || echo "wrong $name"
        count=$((count + 1))
        [ $((count % 8)) != 0 ] || echo "read $1"
    done
}
for reader in 1 2 3 4; do read_on $reader & done
wait
echo "all readers ended"
""".replace("FILES", str(FILES))  # fmt: skip


def data() -> list:
    """The layer's files, and the sums of them."""
    entries = [directory(b"data"), directory(b"sums")]
    for number in range(FILES):
        content = random.Random(number).randbytes(SIZE)
        name = str(number).encode()
        entries.append(file(b"data/" + name, content))
        entries.append(file(b"sums/" + name, hashlib.sha256(content).hexdigest().encode()))
    return entries


def holders(lazy: LazyNode) -> list[int]:
    """The processes that keep the descriptors of the node's mounts."""
    socket = os.fsencode(lazy.root / "holder.sock")
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--hold-descriptors" in words and socket in words:
            found.append(int(path.parent.name))
    return found


def start(node: Node, image: str, name: str):
    """A pod whose container reads on and on."""
    pod = node.cri().pod(f"pod-{name}", node.directory(f"logs-{name}"))
    return pod, pod.start(name, image, "/bin/sh", "-c", READER)


def wait_for_reads(container) -> None:
    """Waits until the container has read for a while from now."""
    before = container.output().count("read ")
    wait_until(lambda: container.output().count("read ") >= before + 4, "the container to read on")


@pytest.fixture
def lazy(lazypull: Lazypull, workspace: Workspace, request: pytest.FixtureRequest) -> LazyNode:
    """A node with an image that has something to read; converted, or in the form that is asked."""
    form = getattr(request, "param", "rafs")
    lazy = LazyNode(lazypull, workspace, CONTAINERD_16, form, extra=data())
    lazy.node.cri().pull(lazy.pause)
    return lazy


@pytest.mark.parametrize("lazy", ["rafs", "zran"], indirect=True)
def test_a_container_reads_on_while_the_service_dies(lazy: LazyNode) -> None:
    image = lazy.node.cri().pull(lazy.app)
    pod, container = start(lazy.node, image, "reader")
    with pod:
        wait_for_reads(container)
        for number in range(10):
            lazy.node.kill(lazy.service)
            lazy.start()
            wait_for_reads(container)
            assert lazy.log().count("mount taken over") == number + 1
        # It ends in peace, and leaves the mounts as well.
        lazy.node.kill(lazy.service, signal.SIGTERM)
        assert lazy.service.returncode == 0
        assert "mounts stay for the next process" in lazy.log()
        lazy.start()
        wait_for_reads(container)
        # One that keeps the descriptors is enough; where it dies, another gets them.
        (holder,) = holders(lazy)
        # What ends a service does not end it.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(holder, number)
        time.sleep(0.3)
        assert holders(lazy) == [holder]
        os.kill(holder, signal.SIGKILL)
        wait_until(lambda: "the holder of descriptors has ended" in lazy.log(), "another holder")
        lazy.node.kill(lazy.service)
        lazy.start()
        wait_for_reads(container)
        assert lazy.log().count("mount taken over") == 12
        wait_until(lazy.is_connected, "containerd to connect again")
        assert run(lazy.node, image, "beside", "cat /greeting") == "hello\n"
        assert container.run("/bin/sh", "-c", ": >/stop") == 0
        assert container.wait() == 0
        lines = container.output().splitlines()
    assert lines[-1] == "all readers ended"
    assert [line for line in lines[:-1] if not line.startswith("read ")] == []
    # All of it was one mount.
    assert len(list((lazy.root / "sessions").iterdir())) == 1
    assert "not taken over" not in lazy.log()


def waiting_requests(lazy: LazyNode) -> int:
    """How many requests of the only mount have no answer yet."""
    connections = lazy.path / "connections"
    if not connections.exists():
        # A container has none at its usual place.
        connections.mkdir()
        subprocess.run(["mount", "-t", "fusectl", "fusectl", connections], check=True)
    (session,) = (lazy.root / "sessions").iterdir()
    minor = os.minor(json.loads(session.read_text())["device"])
    return int((connections / str(minor) / "waiting").read_text())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "stop"])
def test_a_read_that_waits_for_the_registry_is_answered_by_the_next_service(
    lazy: LazyNode, number: signal.Signals
) -> None:
    node, image = lazy.node, lazy.node.cri().pull(lazy.app)
    script = "while [ ! -e /go ]; do sleep 0.1; done; sha256sum /ballast"
    with node.cri().pod("pod-waiting", node.directory("logs-waiting")) as pod:
        container = pod.start("waiting", image, "/bin/sh", "-c", script)
        assert container.run("/bin/sh", "-c", "cat /greeting; sha256sum /greeting") == 0
        lazy.registry.process.send_signal(signal.SIGSTOP)
        assert container.run("/bin/sh", "-c", ": >/go") == 0
        wait_until(lambda: waiting_requests(lazy) > 0, "a read that waits")
        for count in range(1, 4):
            lazy.node.kill(lazy.service, number)
            lazy.start()
            wait_until(
                lambda count=count: lazy.log().count("mount taken over") == count, "the takeover"
            )
            assert waiting_requests(lazy) > 0
        lazy.registry.process.send_signal(signal.SIGCONT)
        assert container.wait() == 0
        assert container.output() == f"{hashlib.sha256(BALLAST).hexdigest()}  /ballast\n"


def test_without_the_descriptors_new_containers_get_new_mounts(lazy: LazyNode) -> None:
    image = lazy.node.cri().pull(lazy.app)
    pod, container = start(lazy.node, image, "reader")
    with pod:
        wait_for_reads(container)
        lazy.node.kill(lazy.service)
        for holder in holders(lazy):
            os.kill(holder, signal.SIGKILL)
        lazy.start()
        wait_until(lambda: "mount not taken over" in lazy.log(), "the log")
        (line,) = (line for line in lazy.log().splitlines() if "mount not taken over" in line)
        assert "whoever kept its descriptor has ended" in line
        # Its reads fail, and do not hang.
        wait_until(lambda: "error" in container.output(), "errors")
        wait_until(lazy.is_connected, "containerd to connect again")
        assert run(lazy.node, image, "new", "cat /greeting") == "hello\n"


def test_the_holder_ends_with_the_last_mount(lazy: LazyNode) -> None:
    cri = lazy.node.cri()
    image = cri.pull(lazy.app)
    assert len(holders(lazy)) == 1
    cri.remove_image(image)
    wait_until(lambda: not list((lazy.root / "sessions").iterdir()), "the mount's end")
    lazy.node.kill(lazy.service, signal.SIGTERM)
    wait_until(lambda: not holders(lazy), "the holder's end")


class ManagedNode(LazyNode):
    """A node whose service manager starts the snapshotter."""

    def __init__(self, lazypull: Lazypull, workspace: Workspace, *, keeps: bool) -> None:
        self.manager = ServiceManager(workspace / "notify", keeps=keeps)
        super().__init__(lazypull, workspace, CONTAINERD_16, extra=data())
        self.node.cri().pull(self.pause)

    def command(self, *words: str | Path) -> tuple[list[str | Path], dict]:
        return self.manager.command(*words)


def test_a_service_manager_keeps_the_descriptors(lazypull: Lazypull, workspace: Workspace) -> None:
    lazy = ManagedNode(lazypull, workspace, keeps=False)
    assert "FileDescriptorStoreMax" in lazy.log()
    image = lazy.node.cri().pull(lazy.app)
    assert len(holders(lazy)) == 1
    assert lazy.manager.names() == []
    pod, container = start(lazy.node, image, "reader")
    with pod:
        wait_for_reads(container)
        # What the holder has moves to a manager that is configured to keep descriptors.
        lazy.manager.keeps = True
        for number in range(3):
            lazy.node.kill(lazy.service, signal.SIGTERM if number == 1 else signal.SIGKILL)
            lazy.start()
            wait_for_reads(container)
            assert lazy.log().count("mount taken over") == number + 1
            (name,) = lazy.manager.names()
            assert name.startswith("lazypull-mount-")
        assert lazy.manager.polled == []
        wait_until(lambda: not holders(lazy), "the holder's end")
        assert container.run("/bin/sh", "-c", ": >/stop") == 0
        assert container.wait() == 0
        lines = container.output().splitlines()
    assert [line for line in lines[:-1] if not line.startswith("read ")] == []
    wait_until(lazy.is_connected, "containerd to connect again")
    lazy.node.cri().remove_image(image)
    wait_until(lambda: not lazy.manager.names(), "the descriptor to be let go")
