# SPDX-License-Identifier: Apache-2.0
"""Images of the size that containers of AI have: many small files, and one file of a gigabyte.

The content is that of the demo image in another order, so that it compresses as programs do.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import demo
import oci
from libraries import HashingWriter

TAG = "tree"
DIRECTORIES = 4_000
FILES = 36_000
LINKS = 2_000
BIG_FILE_SIZE = 1 << 30
# Of this version of the builder.
VERSION = 1


def layout(xattrs: bool = False) -> oci.Layout:
    """The image's layout, made once.

    The one with extended attributes has one in each sixteenth file, and no big file.
    """
    cache = Path(os.environ.get("LAZYPULL_TEST_CACHE", "/var/tmp/lazypull-tests"))
    name = f"tree-{VERSION}" + ("-xattrs" if xattrs else "")
    source = demo.layout()
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (cache / name).exists():
            print(f"benchmark: building {name}, once", file=sys.stderr)
            with tempfile.TemporaryDirectory(dir=cache) as temporary:
                build(Path(temporary), source, xattrs)
                Path(temporary, "layout").rename(cache / name)
    return oci.Layout(cache / name)


def build(directory: Path, source: oci.Layout, xattrs: bool) -> None:
    """Writes `layout`."""
    layers = source.manifest(demo.TAG)["layers"]
    content = b"".join(
        gzip.decompress(source.blob_path(layer["digest"]).read_bytes()) for layer in layers
    )
    layer = directory / "layer"
    compressor = ["pigz"] if shutil.which("pigz") else ["gzip"]
    with (
        open(layer, "wb") as file,
        subprocess.Popen(
            [*compressor, "-1", "-n"], stdin=subprocess.PIPE, stdout=file
        ) as process,
    ):
        writer = HashingWriter(process.stdin)
        with tarfile.open(fileobj=writer, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for member, pieces in members(content, xattrs):
                tar.addfile(member, pieces)
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
    config = oci.image_config(["sha256:" + writer.hash.hexdigest()])
    made.put_image(TAG, config, [descriptor])


def members(content: bytes, xattrs: bool) -> Iterator[tuple[tarfile.TarInfo, io.RawIOBase | None]]:
    """The layer's entries, and the content of files."""
    chance = random.Random(7)
    directories = ["usr"]
    for number in range(DIRECTORIES - 1):
        # Most packages are shallow.
        parent = directories[min(int(chance.expovariate(0.02)), len(directories) - 1)]
        directories.append(f"{parent}/package{number}")
    for path in directories:
        member = tarfile.TarInfo(path)
        member.type, member.mode = tarfile.DIRTYPE, 0o755
        yield member, None
    for number in range(FILES):
        member = tarfile.TarInfo(f"{chance.choice(directories)}/module{number}.py")
        member.size = min(int(chance.lognormvariate(8, 1.2)), 60_000)
        if xattrs and number % 16 == 0:
            member.pax_headers = {"SCHILY.xattr.user.origin": "benchmark"}
        start = chance.randrange(len(content) - member.size)
        yield member, io.BytesIO(content[start : start + member.size])
    for number in range(LINKS):
        member = tarfile.TarInfo(f"{chance.choice(directories)}/link{number}")
        member.type, member.linkname = tarfile.SYMTYPE, f"module{number}.py"
        yield member, None
    if not xattrs:
        member = tarfile.TarInfo("usr/weights")
        member.size = BIG_FILE_SIZE
        yield member, Turning(content, chance)


class Turning(io.RawIOBase):
    """Content over and over, each time from another place, so that no chunk comes twice."""

    PIECE = 3_000_017

    def __init__(self, content: bytes, chance: random.Random) -> None:
        self.content = content
        self.chance = chance
        self.piece = io.BytesIO()

    def read(self, size: int = -1) -> bytes:
        """As of a file without an end."""
        result = b""
        while len(result) < size:
            block = self.piece.read(size - len(result))
            if not block:
                start = self.chance.randrange(len(self.content) - self.PIECE)
                self.piece = io.BytesIO(self.content[start : start + self.PIECE])
            result += block
        return result
