# SPDX-License-Identifier: Apache-2.0
"""An image with one gzip layer of large shared libraries: those of PyPI's torch wheel."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import oci

WHEEL = "torch==2.8.0"
TAG = "libraries"


def directory() -> Path:
    """Where the layout is kept."""
    cache = Path(os.environ.get("LAZYPULL_TEST_CACHE", "/var/tmp/lazypull-tests"))
    return cache / f"libraries-{WHEEL.replace('==', '-')}"


def is_here() -> bool:
    """Whether the layout was made before."""
    return directory().exists()


def layout() -> oci.Layout:
    """The image's layout, made once: the wheel is a download of 900 MB."""
    path = directory()
    cache = path.parent
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                build(Path(temporary))
                Path(temporary, "layout").rename(path)
    return oci.Layout(path)


def build(directory: Path) -> None:
    """Downloads the wheel and writes `layout`."""
    print(f"benchmark: downloading {WHEEL}, once", file=sys.stderr)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", directory,
         "--only-binary", ":all:", "--python-version", "3.11", WHEEL],
        check=True,
    )  # fmt: skip
    (wheel,) = directory.glob("*.whl")
    layer = directory / "layer"
    # As `docker build` stores a layer: gzip at its usual level, in one member.
    compressor = ["pigz"] if shutil.which("pigz") else ["gzip"]
    with (
        open(layer, "wb") as file,
        subprocess.Popen(
            [*compressor, "-6", "-n"], stdin=subprocess.PIPE, stdout=file
        ) as process,
    ):
        digest = write_tar(wheel, process.stdin)
        process.stdin.close()
    if process.returncode != 0:
        sys.exit(f"benchmark: {compressor[0]} failed")
    made = oci.Layout.create(directory / "layout")
    with open(layer, "rb") as file:
        blob = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
    descriptor = {
        "mediaType": oci.OCI.layer_type(oci.Compression.GZIP),
        "digest": blob,
        "size": layer.stat().st_size,
    }
    layer.rename(made.blob_path(blob))
    made.put_image(TAG, oci.image_config([digest]), [descriptor])


class HashingWriter:
    """Knows the digest of what has been written through it."""

    def __init__(self, file) -> None:
        self.file = file
        self.hash = hashlib.sha256()

    def write(self, data: bytes) -> int:
        """As of a file."""
        self.hash.update(data)
        return self.file.write(data)


def write_tar(wheel: Path, output) -> str:
    """Writes a tar of the wheel's shared libraries; returns its digest."""
    writer = HashingWriter(output)
    with zipfile.ZipFile(wheel) as archive, tarfile.open(fileobj=writer, mode="w|") as tar:
        for entry in sorted(archive.infolist(), key=lambda entry: entry.filename):
            if ".so" not in Path(entry.filename).name:
                continue
            member = tarfile.TarInfo(entry.filename)
            member.size = entry.file_size
            member.mode = 0o755
            with archive.open(entry) as content:
                tar.addfile(member, content)
    return "sha256:" + writer.hash.hexdigest()
