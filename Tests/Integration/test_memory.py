# SPDX-License-Identifier: Apache-2.0
"""Memory: it grows with the number of files at most, and never with their data."""

from __future__ import annotations

import gzip
import hashlib
import os
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

import oci
from commands import Lazypull
from layers import MEBIBYTE
from workspace import Workspace

LAYER_SIZE = 512 * MEBIBYTE
CONVERTER_LIMIT = 96 * MEBIBYTE

FILE_COUNT = 100_000
MOUNT_LIMIT = 16 * MEBIBYTE


class Noise:
    """So many bytes that hardly compress, and are different in every mebibyte."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.block = os.urandom(MEBIBYTE)

    def read(self, count: int) -> bytes:
        """As of a file."""
        count = min(count, self.left)
        number = self.left.to_bytes(8, "little")
        self.left -= count
        return (number + self.block)[:count]


class HashingWriter:
    """A file that knows the digest of what has been written to it."""

    def __init__(self, file: gzip.GzipFile) -> None:
        self.file = file
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """As of a file."""
        self.hash.update(data)
        return self.file.write(data)


def put_large_layer(layout: oci.Layout, tag: str) -> None:
    """An image with one layer that this process never holds."""
    temporary = layout.path / "layer"
    with gzip.open(temporary, "wb", compresslevel=0) as compressed:
        writer = HashingWriter(compressed)
        with tarfile.open(fileobj=writer, mode="w|") as tar:
            member = tarfile.TarInfo("large")
            member.size = LAYER_SIZE
            tar.addfile(member, Noise(LAYER_SIZE))
    with open(temporary, "rb") as file:
        digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    descriptor = {
        "mediaType": oci.OCI.layer_type(oci.Compression.GZIP),
        "digest": digest,
        "size": temporary.stat().st_size,
    }
    temporary.rename(layout.blob_path(digest))
    layout.put_image(tag, oci.image_config([f"sha256:{writer.hash.hexdigest()}"]), [descriptor])


def put_many_files(layout: oci.Layout, tag: str) -> None:
    """An image with many small files."""
    path = layout.path / "layer"
    with tarfile.open(path, "w") as tar:
        for number in range(FILE_COUNT):
            tar.addfile(tarfile.TarInfo(f"{number // 500}/{number % 7}/file{number}"))
    layout.put_tars(tag, [path.read_bytes()])
    path.unlink()


def memory(process: int, field: str) -> int:
    """One of the sizes in a process's status, in bytes; 0 once it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0
    values = [line.split()[1] for line in status.splitlines() if line.startswith(f"{field}:")]
    return int(values[0]) * 1024 if values else 0


def peak_memory(process: subprocess.Popen) -> int:
    """The largest resident size until the process ends."""
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory(process.pid, "VmHWM"))
        time.sleep(0.01)
    return peak


@pytest.mark.parametrize("threads", [1, 4])
def test_conversion(threads: int, lazypull: Lazypull, workspace: Workspace) -> None:
    """A layer of any size goes through a converter of one size."""
    layout = oci.Layout.create(workspace / "layout")
    put_large_layer(layout, "source")
    process = lazypull.start(
        "convert", "--quiet", "--threads", str(threads),
        layout.reference("source"), layout.reference("lazy"),
    )  # fmt: skip
    peak = peak_memory(process)
    assert process.returncode == 0, process.stderr.read()
    assert 0 < peak < CONVERTER_LIMIT


def test_mount_of_many_files(lazypull: Lazypull, workspace: Workspace) -> None:
    """A walk over all files leaves nothing behind in the process: inodes are in the bootstrap."""
    layout = oci.Layout.create(workspace / "layout")
    put_many_files(layout, "source")
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        seen = subprocess.run(
            ["find", mounted.path, "-type", "f", "-printf", "%s"], capture_output=True, check=True
        )
        assert len(seen.stdout) == FILE_COUNT
        assert 0 < memory(mounted.process.pid, "RssAnon") < MOUNT_LIMIT
