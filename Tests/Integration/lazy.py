# SPDX-License-Identifier: Apache-2.0
"""`lazypull serve-snapshotter` with a converted image, asked as containerd asks it, and what a
container does with the answers."""

from __future__ import annotations

import copy
import ctypes
import gzip
import json
import mmap
import os
import random
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import rpc

import kernel
import oci
from commands import Lazypull
from layers import Stack
from scenarios import directory, file
from services import Registry
from workspace import LIMIT, Workspace, wait_until

# Larger than what is fetched at once: it comes in many requests.
BALLAST = random.Random(5).randbytes(24 << 20)
SERVICE = "containerd.services.snapshots.v1.Snapshots"


class Image:
    """A converted image in a registry."""

    def __init__(self, lazypull: Lazypull, workspace: Workspace) -> None:
        layout = oci.Layout.create(workspace / "layout")
        stack = Stack([
            [directory(b"d"), file(b"d/greeting", b"hello\n")],
            [file(b"ballast", BALLAST)]
            + [file(b"d/%d" % number, b"content of %d\n" % number) for number in range(300)],
        ])  # fmt: skip
        tars = stack.tars()
        kind = oci.OCI.layer_type(oci.Compression.GZIP)
        layers = [layout.put(gzip.compress(tar, 1), kind) for tar in tars]
        layout.put_image("source", oci.image_config([oci.sha256(tar) for tar in tars]), layers)
        converted = lazypull.convert(layout.reference("source"), layout, "lazy")
        self.registry = Registry(workspace)
        self.reference = f"{self.registry.address}/app:lazy"
        lazypull.run(
            "push", "--quiet", "--plain-http", converted.reference, f"docker://{self.reference}"
        ).assert_done()
        self.layout = layout
        self.manifest = converted.manifest
        self.digest = layout.tags()["lazy"]["digest"]
        self.config = layout.document(self.manifest["config"]["digest"])
        self.chain = chain_ids(self.config["rootfs"]["diff_ids"])

    def variant(self, number: int) -> Image:
        """Another image of the same files, pushed: its bootstrap layer has more zeros at its end."""
        return self.with_bootstrap_layer(self.bootstrap_layer() + bytes(1024 * number))

    def bootstrap_layer(self) -> bytes:
        """The archive that is the image's last layer."""
        return gzip.decompress(self.layout.blob(self.manifest["layers"][-1]["digest"]))

    def with_bootstrap_layer(self, tar: bytes) -> Image:
        """Another image, pushed, with this archive in the place of its last layer."""
        other = copy.copy(self)
        other.manifest, other.config = copy.deepcopy((self.manifest, self.config))
        data = gzip.compress(tar, 1)
        other.manifest["layers"][-1] |= {"digest": self._push(data), "size": len(data)}
        other.config["rootfs"]["diff_ids"][-1] = oci.sha256(tar)
        other.push()
        return other

    def push(self) -> None:
        """Pushes configuration and manifest as they are now; the image is what they say."""
        config = json.dumps(self.config).encode()
        self.manifest["config"] |= {"digest": self._push(config), "size": len(config)}
        manifest = json.dumps(self.manifest).encode()
        self.digest = oci.sha256(manifest)
        request = urllib.request.Request(
            f"http://{self.registry.address}/v2/app/manifests/{self.digest}", data=manifest,
            headers={"Content-Type": self.layout.tags()["lazy"]["mediaType"]}, method="PUT",
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=LIMIT).close()
        self.chain = chain_ids(self.config["rootfs"]["diff_ids"])

    def _push(self, data: bytes) -> str:
        """Pushes a blob; its digest."""
        digest = oci.sha256(data)
        uploads = f"http://{self.registry.address}/v2/app/blobs/uploads/"
        request = urllib.request.Request(uploads, data=b"", method="POST")
        with urllib.request.urlopen(request, timeout=LIMIT) as response:
            place = response.headers["Location"]
        request = urllib.request.Request(
            f"{place}&digest={digest}", data=data, method="PUT",
            headers={"Content-Type": "application/octet-stream"},
        )  # fmt: skip
        urllib.request.urlopen(request, timeout=LIMIT).close()
        return digest

    def labels(self, index: int) -> dict[str, str]:
        """What the CRI says with a layer."""
        layer = self.manifest["layers"][index]
        return layer.get("annotations", {}) | {
            "containerd.io/snapshot.ref": self.chain[index],
            "containerd.io/snapshot/cri.image-ref": self.reference,
            "containerd.io/snapshot/cri.manifest-digest": self.digest,
            "containerd.io/snapshot/cri.layer-digest": layer["digest"],
        }


def chain_ids(diff_ids: list[str]) -> list[str]:
    """The names of stacks of layers (image-spec, "Layer ChainID")."""
    chain: list[str] = []
    for diff_id in diff_ids:
        chain.append(oci.sha256(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return chain


class LazyService:
    """The snapshotter on a root in the workspace, which a test kills and starts again."""

    def __init__(self, binary: Path, workspace: Workspace, *options: str | Path) -> None:
        self._workspace = workspace
        self._binary = binary
        self._options = options
        self.root, self.socket = workspace / "root", workspace / "socket"
        self.log_path = workspace / "log"
        self.process: subprocess.Popen | None = None

    def start(self, *, launcher: Sequence[str | Path] = (), **process) -> LazyService:
        """Starts it, and waits until it answers; `launcher` is a program that becomes it."""
        self.socket.unlink(missing_ok=True)
        with open(self.log_path, "ab") as log:
            self.process = self._workspace.start(
                [*launcher, self._binary, "serve-snapshotter", "--config", "/dev/null", "--plain-http",
                 "--root", self.root, "--address", self.socket, "--admin-address",
                 self._workspace / "admin", "--log-level", "debug", *self._options],
                stdout=log, stderr=log, **process,
            )  # fmt: skip
        wait_until(
            lambda: self.process.poll() is not None or self.socket.exists(), "the snapshotter"
        )
        assert self.process.poll() is None, self.log()
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it by a signal."""
        self.process.send_signal(number)
        code = self.process.wait(LIMIT)
        assert code == (0 if number == signal.SIGTERM else -number), self.log()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def holders(self) -> list[int]:
        """The processes that hold descriptors for it."""
        return [
            process
            for process in self._workspace.processes()
            if b"--hold-descriptors" in Path(f"/proc/{process}/cmdline").read_bytes()
        ]

    def states(self) -> list[Path]:
        """What it keeps of its mounts' sessions."""
        return sorted((self.root / "sessions").glob("*.json"))

    def call(self, method: str, request: dict) -> rpc.Fields:
        return rpc.call(self.socket, f"{SERVICE}/{method}", {1: "lazypull"} | request)

    def provide(self, image: Image, count: int | None = None) -> None:
        """What a pull does: all layers, or the lowest ones, are answered to exist."""
        for index in range(len(image.chain) if count is None else count):
            labels = [{1: key, 2: value} for key, value in image.labels(index).items()]
            below = image.chain[index - 1] if index else ""
            try:
                self.call("Prepare", {2: f"extract-{index}", 3: below, 4: labels})
            except rpc.RPCError as error:
                assert error.code == 6, error  # ALREADY_EXISTS
            else:
                raise AssertionError(f"layer {index} was not provided")

    def prepare(self, image: Image, key: str) -> str:
        """A container's snapshot; the options of its overlay."""
        (mount,) = self.call("Prepare", {2: key, 3: image.chain[-1]}).messages(1)
        assert mount.text(1) == "overlay"
        return ",".join(mount.texts(4))

    def remove(self, key: str) -> None:
        self.call("Remove", {2: key})


class Container:
    """What a container sees: an overlay on the image's mount."""

    def __init__(self, service: LazyService, image: Image, workspace: Workspace, key: str) -> None:
        self.path = workspace.directory(f"container-{key}")
        options = service.prepare(image, key).encode()
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.mount(b"overlay", os.fsencode(self.path), b"overlay", 0, options)
        assert result == 0, os.strerror(ctypes.get_errno())

    def unmount(self) -> None:
        kernel.unmount(self.path)


class Readers:
    """Threads that read a container's files on and on, past the page cache, and compare."""

    SIZE = 16 << 10

    def __init__(self, container: Container, count: int = 4) -> None:
        self._container = container
        self._over = threading.Event()
        self.reads = 0
        self.failures: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(seed,), daemon=True) for seed in range(count)
        ]

    def __enter__(self) -> Readers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(LIMIT)
            assert not thread.is_alive(), "a read hangs"

    def await_reads(self, count: int) -> None:
        """Waits for so many more reads, or a failure."""
        target = self.reads + count
        wait_until(lambda: self.reads >= target or self.failures, f"{count} reads")
        assert not self.failures, self.failures

    def _run(self, seed: int) -> None:
        choice = random.Random(seed)
        path = self._container.path
        memory = mmap.mmap(-1, self.SIZE)
        file = os.open(path / "ballast", os.O_RDONLY | os.O_DIRECT)
        try:
            while not self._over.is_set():
                offset = choice.randrange((len(BALLAST) - self.SIZE) // 4096) * 4096
                count = os.preadv(file, [memory], offset)
                if count != self.SIZE or memory[:] != BALLAST[offset : offset + self.SIZE]:
                    self.failures.append(f"{count} bytes, or wrong ones, at {offset}")
                    return
                # Names that nobody has asked for yet, too.
                number = choice.randrange(300)
                if (path / "d" / str(number)).read_bytes() != b"content of %d\n" % number:
                    self.failures.append(f"wrong bytes in d/{number}")
                    return
                self.reads += 1
        except OSError as error:
            self.failures.append(str(error))
        finally:
            os.close(file)
