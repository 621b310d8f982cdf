# SPDX-License-Identifier: Apache-2.0
"""A machine of a cluster in small: containerd with its CRI, in namespaces of its own.

containerd comes from Debian 12 or from the root file system of a later Debian. All processes of a
node, its containers too, are in one process namespace and one mount namespace: they end and their
mounts vanish with it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cri import CRI
from workspace import BASE, LIMIT, Workspace, wait_until

# Root file systems stay here between runs.
CACHE = BASE / "lazypull-tests"
MIRROR = "http://deb.debian.org/debian"


@dataclass(frozen=True)
class Release:
    """A containerd, and the Debian that has it."""

    suite: str
    # The beginning of the version, which is asserted.
    version: str
    # The version of the configuration file.
    configuration: int

    def root(self) -> Path:
        """The root file system with it, made once."""
        if self.suite == "bookworm":
            return Path("/")
        CACHE.mkdir(exist_ok=True)
        root = CACHE / f"containerd-{self.suite}"
        with open(CACHE / "lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not root.exists():
                # Complete or not there at all. The CRI copies the two files into pods.
                new = CACHE / f".containerd-{self.suite}.new"
                shutil.rmtree(new, ignore_errors=True)
                subprocess.run(
                    ["debootstrap", "--variant=minbase", "--include=containerd,runc,mount",
                     self.suite, new, MIRROR],
                    check=True, stdout=subprocess.DEVNULL,
                )  # fmt: skip
                for name in ("hosts", "resolv.conf"):
                    (new / "etc" / name).touch()
                new.rename(root)
        return root


CONTAINERD_16 = Release("bookworm", "1.6.", 2)
CONTAINERD_17 = Release("trixie", "1.7.", 2)
CONTAINERD_21 = Release("sid", "2.", 3)
RELEASES = [CONTAINERD_16, CONTAINERD_17, CONTAINERD_21]

GENERAL = """\
version = {version}
root = "{path}/root"
state = "{path}/state"
[debug]
  level = "debug"
[grpc]
  address = "{path}/socket"
[ttrpc]
  address = "{path}/socket.ttrpc"
"""

PROXY = """\
[proxy_plugins.{name}]
  type = "snapshot"
  address = "{address}"
"""

# 1.6 knows no such table, and passes it over.
EXPORTS = """\
  [proxy_plugins.{name}.exports]
    root = "{root}"
"""

# A tester's root may lack the right to lower an oom_score_adj.
CRI_2 = """\
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
    disable_snapshot_annotations = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    conf_dir = "{path}/cni"
"""

CRI_3 = """\
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "{snapshotter}"
  disable_snapshot_annotations = false
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  conf_dir = "{path}/cni"
"""


class Node:
    """containerd of one release, perhaps with a snapshotter of ours beside it."""

    def __init__(
        self,
        workspace: Workspace,
        release: Release,
        *,
        pause: str = "",
        snapshotter: str = "overlayfs",
        address: Path | None = None,
        snapshots: Path | None = None,
    ) -> None:
        """Starts the node without its daemons.

        `pause` names the image of pods' first processes; `address` is the socket on which the
        snapshotter will answer, unless it is one of containerd's own, and `snapshots` its root.
        """
        self.path = workspace.directory(f"node-{release.suite}")
        self.release = release
        self.snapshotter = snapshotter
        self._workspace = workspace
        self._root = release.root()
        values = {
            "version": release.configuration,
            "path": self.path,
            "pause": pause,
            "snapshotter": snapshotter,
        }
        text = GENERAL.format(**values)
        if address:
            text += PROXY.format(name=snapshotter, address=address)
            if snapshots:
                text += EXPORTS.format(name=snapshotter, root=snapshots)
        text += (CRI_3 if release.configuration == 3 else CRI_2).format(**values)
        self.directory("cni")
        (self.path / "config.toml").write_text(text)
        self._init = self._start_init()
        version = self.run("containerd", "--version").split()[2].lstrip("v")
        assert version.startswith(release.version), version

    def directory(self, name: str) -> Path:
        """A new directory of the node."""
        path = self.path / name
        path.mkdir()
        return path

    def _start_init(self) -> int:
        """The process that holds the namespaces; its number as seen from here."""
        steps = ["set -e"]
        root = str(self._root)
        if root != "/":
            # runc wants a root that is a mount point.
            steps.append(f"mount --bind {root} {root}")
            steps += [f"mount --rbind /{name} {root}/{name}" for name in ("dev", "sys")]
            steps.append(f"mount -t tmpfs tmpfs {root}/run")
            below = f"{root}{self._workspace.path}"
            steps += [f"mkdir -p {below}", f"mount --rbind {self._workspace.path} {below}"]
        # A new process namespace wants a /proc of its own.
        steps.append(f"mount -t proc proc {root.rstrip('/')}/proc")
        ready = self.path / "ready"
        steps.append(f"cd {root}")
        if root != "/":
            # No chroot: nobody may make a user namespace in one.
            steps += ["pivot_root . .", "umount -l ."]
        steps.append(f"exec chroot . sh -c 'touch {ready}; exec sleep infinity'")
        process = self._workspace.start(
            ["unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child",
             "sh", "-c", "; ".join(steps), str(self.path)],
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: ready.exists() or process.poll() is not None, "a node's namespaces")
        assert process.poll() is None, "the namespaces were not made"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return int(children.split()[0])

    def _command(self, arguments: tuple[str | Path, ...]) -> list[str]:
        return [
            "nsenter", f"--target={self._init}", "--mount", "--pid", "--root", "--wd=/",
            *map(str, arguments),
        ]  # fmt: skip

    def start(self, *arguments: str | Path, **options) -> subprocess.Popen:
        """Starts a daemon on the node."""
        return self._workspace.start(self._command(arguments), **options)

    def run(self, *arguments: str | Path) -> str:
        """What a command prints that runs on the node, which must succeed."""
        result = subprocess.run(
            self._command(arguments), capture_output=True, text=True, timeout=LIMIT
        )
        assert result.returncode == 0, result
        return result.stdout

    def start_containerd(self) -> None:
        """Starts containerd, and waits until it answers."""
        with open(self.path / "log", "ab") as log:
            process = self.start(
                "containerd", "--config", self.path / "config.toml", stdout=log, stderr=log
            )
        wait_until(lambda: process.poll() is not None or self._answers(), "containerd")
        assert process.poll() is None, self.log()[-4000:]
        self._containerd = process

    def _answers(self) -> bool:
        command = self._command(("ctr", "--address", self.path / "socket", "plugins", "ls"))
        return (self.path / "socket").exists() and subprocess.run(
            command, capture_output=True, timeout=LIMIT
        ).returncode == 0

    def log(self) -> str:
        """What containerd has logged."""
        return (self.path / "log").read_text(errors="replace")

    def ctr(self, *arguments: str | Path, namespace: str = "default") -> str:
        """What `ctr` prints, which must succeed."""
        return self.run(
            "ctr", "--address", self.path / "socket", "--namespace", namespace, *arguments
        )

    def cri(self) -> CRI:
        """A client of the node's CRI."""
        return CRI(self.path / "socket")

    def see(self, path: Path) -> Path:
        """A path of the node as it is seen from here."""
        return Path(f"/proc/{self._init}/root{path}")

    def kill(self, process: subprocess.Popen, number: int = signal.SIGKILL) -> None:
        """Sends a daemon of the node a signal, and waits for its end."""
        # nsenter has a child, which is the daemon: it joined a process namespace.
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        for child in children.split():
            os.kill(int(child), number)
        process.wait(LIMIT)
