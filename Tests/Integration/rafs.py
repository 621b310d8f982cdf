# SPDX-License-Identifier: Apache-2.0
"""A second opinion on converted images: an independent, minimal reader of RAFS v6.

It shares no code with the program under test. It unpacks the data blobs into the uncompressed
files that EROFS calls devices, so that the kernel and fsck.erofs can judge the bootstrap.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import oci
import zstd

DATA_BLOB = "application/vnd.oci.image.layer.nydus.blob.v1"
BOOTSTRAP_ANNOTATION = "containerd.io/snapshot/nydus-bootstrap"
BOOTSTRAP_MEMBER = "image/image.boot"

EROFS_MAGIC = 0xE0F5E1E2
SUPERBLOCK_OFFSET = 1024
EXTENDED_OFFSET = 1152
BLOB_ENTRY_SIZE = 256
CHUNK_RECORD_SIZE = 80
CHUNK_INFO_V2 = 0x4

COMPRESSOR_NONE, COMPRESSOR_ZSTD = 0, 3
DIGEST_SHA256 = 1


@dataclass(frozen=True)
class Blob:
    """One entry of the bootstrap's blob table."""

    identifier: str
    chunk_count: int
    compressor: int
    digester: int
    features: int
    uncompressed_size: int
    table_compressor: int
    table_offset: int
    table_stored_size: int
    table_size: int

    @classmethod
    def parse(cls, entry: bytes) -> Blob:
        """Reads the 256 bytes of an entry."""
        count, compressor, digester, features = struct.unpack_from("<4I", entry, 72)
        (uncompressed_size,) = struct.unpack_from("<Q", entry, 96)
        (table_compressor,) = struct.unpack_from("<I", entry, 108)
        table_offset, table_stored_size, table_size = struct.unpack_from("<3Q", entry, 112)
        return cls(
            identifier=entry[:64].rstrip(b"\0").decode(),
            chunk_count=count,
            compressor=compressor,
            digester=digester,
            features=features,
            uncompressed_size=uncompressed_size,
            table_compressor=table_compressor,
            table_offset=table_offset,
            table_stored_size=table_stored_size,
            table_size=table_size,
        )


@dataclass(frozen=True)
class Chunk:
    """Where a chunk lies: compressed in the blob file, uncompressed in the device."""

    compressed_offset: int
    compressed_size: int
    offset: int
    size: int

    @classmethod
    def parse(cls, info: bytes) -> Chunk:
        """Reads a chunk info of the first version: sizes are stored less one, in two pieces."""
        uncompressed, compressed = struct.unpack("<2Q", info)
        return cls(
            compressed_offset=compressed & (1 << 40) - 1,
            compressed_size=(compressed >> 44 | (compressed >> 40 & 0xF) << 20) + 1,
            offset=uncompressed & 0xFFF_FFFF_F000,
            size=(uncompressed >> 44 | (uncompressed >> 8 & 0xF) << 20) + 1,
        )

    def decode(self, stored: bytes, compressor: int) -> bytes:
        """The chunk's bytes. Equal sizes say that compression did not pay and was left out."""
        if self.compressed_size == self.size:
            return stored
        assert compressor == COMPRESSOR_ZSTD, f"chunks by compressor {compressor} are not read here"
        return zstd.decompress(stored, self.size)


class Bootstrap:
    """The metadata of an image: enough of it to find and check the chunks."""

    def __init__(self, data: bytes) -> None:
        (magic,) = struct.unpack_from("<I", data, SUPERBLOCK_OFFSET)
        assert magic == EROFS_MAGIC, f"not an EROFS image: magic {magic:#x}"
        self.data = data
        blob_table, blob_table_size, self.chunk_size, chunk_table, chunk_table_size = (
            struct.unpack_from("<QIIQQ", data, EXTENDED_OFFSET + 8)
        )
        self.blobs = [
            Blob.parse(data[start : start + BLOB_ENTRY_SIZE])
            for start in range(blob_table, blob_table + blob_table_size, BLOB_ENTRY_SIZE)
        ]
        self._records = data[chunk_table : chunk_table + chunk_table_size]

    def chunk_digests(self) -> dict[tuple[int, int], bytes]:
        """The digest that the chunk table states for each (blob, uncompressed offset)."""
        digests = {}
        for start in range(0, len(self._records), CHUNK_RECORD_SIZE):
            record = self._records[start : start + CHUNK_RECORD_SIZE]
            (blob,) = struct.unpack_from("<I", record, 32)
            (offset,) = struct.unpack_from("<Q", record, 56)
            digests[blob, offset] = record[:32]
        return digests


class ConvertedImage:
    """A RAFS image in a layout: its manifest, bootstrap and data blobs."""

    def __init__(self, layout: oci.Layout, tag: str) -> None:
        self.layout = layout
        self.tag = tag
        # Equal digests are equal images, to the byte. The tag may come to name another one.
        self.digest: str = layout.tags()[tag]["digest"]
        self.manifest = layout.document(self.digest)
        self.config = layout.document(self.manifest["config"]["digest"])

    @property
    def reference(self) -> str:
        """The image as lazypull's command line names it."""
        return self.layout.reference(self.tag)

    @property
    def bootstrap_layer(self) -> dict:
        """The last layer's descriptor."""
        layer = self.manifest["layers"][-1]
        assert layer["annotations"][BOOTSTRAP_ANNOTATION] == "true"
        return layer

    @property
    def data_layers(self) -> list[dict]:
        """The data blobs' descriptors, lowest layer first."""
        layers = self.manifest["layers"][:-1]
        assert all(layer["mediaType"] == DATA_BLOB for layer in layers)
        return layers

    def bootstrap_members(self) -> dict[str, bytes]:
        """The regular files in the bootstrap layer's tar, by name."""
        tar = gzip.decompress(self.layout.blob(self.bootstrap_layer["digest"]))
        with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
            return {
                member.name: archive.extractfile(member).read()
                for member in archive
                if member.isfile()
            }

    def bootstrap(self) -> Bootstrap:
        """The merged bootstrap."""
        return Bootstrap(self.bootstrap_members()[BOOTSTRAP_MEMBER])

    def chunks(self, blob: Blob) -> Iterator[Chunk]:
        """A blob's chunks in the order of its chunk-info table, read from the blob itself."""
        assert not blob.features & CHUNK_INFO_V2, "chunk infos of version 2 are not read here"
        with self._open(blob) as file:
            file.seek(blob.table_offset)
            table = file.read(blob.table_stored_size)
        if blob.table_compressor == COMPRESSOR_ZSTD and len(table) != blob.table_size:
            table = zstd.decompress(table, blob.table_size)
        assert len(table) == blob.table_size == 16 * blob.chunk_count
        for start in range(0, len(table), 16):
            yield Chunk.parse(table[start : start + 16])

    def unpack(self, directory: Path) -> Unpacked:
        """Writes the bootstrap and one device file a blob, checking each chunk's digest."""
        directory.mkdir()
        bootstrap = self.bootstrap()
        (directory / "boot").write_bytes(bootstrap.data)
        digests = bootstrap.chunk_digests()
        devices = []
        for index, blob in enumerate(bootstrap.blobs):
            device = directory / f"device{index}"
            self._unpack_blob(blob, device, {
                offset: digest for (owner, offset), digest in digests.items() if owner == index
            })  # fmt: skip
            devices.append(device)
        return Unpacked(directory / "boot", devices)

    def _unpack_blob(self, blob: Blob, device: Path, digests: dict[int, bytes]) -> None:
        seen = set()
        with self._open(blob) as source, open(device, "wb") as target:
            for chunk in self.chunks(blob):
                source.seek(chunk.compressed_offset)
                data = chunk.decode(source.read(chunk.compressed_size), blob.compressor)
                # The chunk table may leave out duplicates, never state another digest. BLAKE3,
                # which nydus uses, is not in Python: there the comparison of trees has to do.
                if blob.digester == DIGEST_SHA256 and chunk.offset in digests:
                    assert hashlib.sha256(data).digest() == digests[chunk.offset]
                seen.add(chunk.offset)
                os.pwrite(target.fileno(), data, chunk.offset)
            target.truncate(blob.uncompressed_size)
        assert digests.keys() <= seen, "the bootstrap knows chunks that the blob has not"

    def _open(self, blob: Blob) -> io.BufferedReader:
        return open(self.layout.blob_path(blob.identifier), "rb")


@dataclass(frozen=True)
class Unpacked:
    """What the kernel's EROFS takes: the bootstrap, and the devices in table order."""

    bootstrap: Path
    devices: list[Path]
