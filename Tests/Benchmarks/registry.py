# SPDX-License-Identifier: Apache-2.0
"""Cold reads of one large file from a registry, beside curl and zstd doing the same."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kernel
import libraries
import oci
import zstd
from commands import Lazypull
from link import THERE, Link
from measuring import Sample, View, measure
from nginx import Nginx
from rafs import COMPRESSOR_ZSTD, ConvertedImage
from workspace import Workspace

SIZE = 1 << 30
NAME = "big"
RATE, ROUND_TRIP = "1gbit", 0.015

# A registry that is only read: nginx over a layout.
SERVER = """\
    server {{
        listen {address};
        location ~ ^/v2/[^/]+/manifests/sha256:(?<digest>[0-9a-f]+)$ {{
            default_type application/vnd.oci.image.manifest.v1+json;
            alias {blobs}/$digest;
        }}
        location ~ ^/v2/[^/]+/blobs/sha256:(?<digest>[0-9a-f]+)$ {{
            alias {blobs}/$digest;
        }}
        location /frames {{
            alias {frames};
        }}
    }}
"""


class BigFile:
    """An image with one file of 1 GiB, as a registry has it, and its chunks as a zstd file."""

    def __init__(self, lazypull: Lazypull, workspace: Workspace) -> None:
        self.lazypull = lazypull
        self.workspace = workspace
        layout = oci.Layout.create(workspace / "big-layout")
        write_image(layout)
        self.image: ConvertedImage = lazypull.convert(layout.reference("source"), layout, "lazy")
        (self.blob,) = self.image.data_layers
        self.frames = workspace / "frames.zst"
        write_frames(self.image, self.frames)

    @contextmanager
    def served(self, link: Link | None) -> Iterator[str]:
        """The registry's address, through the link if there is one."""
        words = {"blobs": self.image.layout.path / "blobs/sha256", "frames": self.frames}
        if link is None:
            server = Nginx(self.workspace, SERVER, **words)
            yield server.address
        else:
            server = Nginx(self.workspace, SERVER, prefix=link.prefix, host=THERE, **words)
            with link.port(int(server.address.split(":")[1])) as port:
                yield f"127.0.0.1:{port}"
        server.process.kill()
        server.process.wait()

    def warm(self) -> None:
        """Has the server's side in memory, and nothing of the client's."""
        kernel.drop_page_cache()
        for path in (self.frames, self.image.layout.blob_path(self.blob["digest"])):
            subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)

    def read(self, address: str, cache: Path, target: Path) -> Sample:
        """Through our mount, cold."""
        self.warm()
        target.mkdir()
        name = f"{address}/{NAME}@{self.image.digest}"
        with self.lazypull.mount(name, cache, target) as mounted:
            return measure(["cat", NAME], View(mounted.path, mounted.process.pid))

    def pipe(self, address: str) -> Sample:
        """By the tools that do nothing else."""
        self.warm()
        return measure(["sh", "-c", f"curl -sf http://{address}/frames | zstd -dcq"])

    def transfer(self, address: str) -> Sample:
        """Only from there to here."""
        self.warm()
        return measure(["curl", "-sf", f"http://{address}/frames"])


def write_image(layout: oci.Layout) -> None:
    """An image whose only layer has the file."""
    path = layout.path / "layer"
    with tarfile.open(path, "w") as tar, content() as stream:
        member = tarfile.TarInfo(NAME)
        member.size = SIZE
        tar.addfile(member, stream)
    digest = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True)
    digest = "sha256:" + digest.stdout.split()[0]
    layer = {
        "mediaType": oci.OCI.layer_type(oci.Compression.NONE),
        "digest": digest,
        "size": path.stat().st_size,
    }
    path.rename(layout.blob_path(digest))
    layout.put_image("source", oci.image_config([digest]), [layer])


@contextmanager
def content() -> Iterator:
    """1 GiB as it is in real images: shared libraries, where they have been downloaded already."""
    if libraries.is_here():
        source = libraries.layout()
        (layer,) = source.manifest(libraries.TAG)["layers"]
        command = ["gzip", "-dc", source.blob_path(layer["digest"])]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            yield process.stdout
            process.kill()
    else:
        yield Generated()


class Generated:
    """Half noise, half text, without end."""

    def __init__(self) -> None:
        chance = random.Random(1)
        self.blocks = (chance.randbytes(512) + b"%d " % n * 128 for n in itertools.count())
        self.rest = b""

    def read(self, size: int) -> bytes:
        """As of a file."""
        while len(self.rest) < size:
            self.rest += b"".join(itertools.islice(self.blocks, 1024))
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken


def write_frames(image: ConvertedImage, path: Path) -> None:
    """The blob's chunks one after the other, as zstd reads them: those that are stored as they
    are become frames, too."""
    (blob,) = image.bootstrap().blobs
    assert blob.compressor == COMPRESSOR_ZSTD
    with open(image.layout.blob_path(blob.identifier), "rb") as source, open(path, "wb") as file:
        for chunk in image.chunks(blob):
            source.seek(chunk.compressed_offset)
            stored = source.read(chunk.compressed_size)
            is_plain = chunk.compressed_size == chunk.size
            file.write(zstd.compress(stored) if is_plain else stored)
    os.sync()
