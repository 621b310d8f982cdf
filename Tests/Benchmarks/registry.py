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
        self.layout = oci.Layout.create(workspace / "big-layout")
        write_image(self.layout)
        image: ConvertedImage = lazypull.convert(
            self.layout.reference("source"), self.layout, "lazy"
        )
        (blob,) = image.data_layers
        self.digest = image.digest
        self.blob = self.layout.blob_path(blob["digest"])
        self.frames = workspace / "frames.zst"
        write_frames(image, self.frames)

    # What the tools make of what is served as the file's frames.
    decoder = "zstd -dcq"
    # How the image is mounted.
    options: tuple[str, ...] = ()

    @contextmanager
    def served(self, link: Link | None) -> Iterator[str]:
        """The registry's address, through the link if there is one."""
        words = {"blobs": self.layout.path / "blobs/sha256", "frames": self.frames}
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
        for path in {self.frames, self.blob}:
            subprocess.run(["cat", path], stdout=subprocess.DEVNULL, check=True)

    def read(
        self, address: str, cache: Path, target: Path, command: tuple[str, ...] = ("cat", NAME)
    ) -> Sample:
        """Through our mount, cold."""
        self.warm()
        target.mkdir()
        name = f"{address}/{NAME}@{self.digest}"
        with self.lazypull.mount(name, cache, target, *self.options) as mounted:
            return measure([*command], View(mounted.path, mounted.process.pid))

    def pipe(self, address: str) -> Sample:
        """By the tools that do nothing else."""
        self.warm()
        return measure(["sh", "-c", f"curl -sf http://{address}/frames | {self.decoder}"])

    def transfer(self, address: str) -> Sample:
        """Only from there to here."""
        self.warm()
        return measure(["curl", "-sf", f"http://{address}/frames"])


class BigLayer(BigFile):
    """An image with the file in a gzip layer, which stays as it is, and an index over it."""

    decoder = "gzip -dc"

    def __init__(self, lazypull: Lazypull, workspace: Workspace) -> None:
        self.lazypull = lazypull
        self.workspace = workspace
        self.layout = oci.Layout.create(workspace / "layer-layout")
        tar, layer = workspace / "layer.tar", workspace / "layer.gz"
        write_tar(tar)
        # As builders write a layer: one member, at the usual level.
        subprocess.run(["sh", "-c", f"gzip -6n < {tar} > {layer}"], check=True)
        described = {
            "mediaType": oci.OCI.layer_type(oci.Compression.GZIP),
            "digest": file_digest(layer),
            "size": layer.stat().st_size,
        }
        config = oci.image_config([file_digest(tar)])
        tar.unlink()
        self.blob = self.frames = self.layout.blob_path(described["digest"])
        layer.rename(self.blob)
        self.layout.put_image("source", config, [described])
        self.digest = self.layout.tags()["source"]["digest"]
        indexes = workspace / "indexes"
        self.options = ("--index-dir", str(indexes))
        lazypull.run(
            "convert", "--quiet", "--format", "zran", *self.options,
            self.layout.reference("source"),
        ).assert_done()  # fmt: skip

    def read_page(self, address: str, cache: Path, target: Path) -> Sample:
        """4 KiB from the middle of a cold file."""
        page = ("dd", f"if={NAME}", "bs=4096", "count=1", "iflag=direct", "status=none",
                f"skip={SIZE // 8192 + 77}")  # fmt: skip
        return self.read(address, cache, target, page)


def write_image(layout: oci.Layout) -> None:
    """An image whose only layer has the file."""
    path = layout.path / "layer"
    write_tar(path)
    digest = file_digest(path)
    layer = {
        "mediaType": oci.OCI.layer_type(oci.Compression.NONE),
        "digest": digest,
        "size": path.stat().st_size,
    }
    path.rename(layout.blob_path(digest))
    layout.put_image("source", oci.image_config([digest]), [layer])


def write_tar(path: Path) -> None:
    """A tar of the file."""
    with tarfile.open(path, "w") as tar, content() as stream:
        member = tarfile.TarInfo(NAME)
        member.size = SIZE
        tar.addfile(member, stream)


def file_digest(path: Path) -> str:
    """The digest of a file that need not fit into memory."""
    digest = subprocess.run(["sha256sum", path], check=True, capture_output=True, text=True)
    return "sha256:" + digest.stdout.split()[0]


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
