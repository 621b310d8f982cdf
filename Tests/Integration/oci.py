# SPDX-License-Identifier: Apache-2.0
"""OCI image layouts: blobs by digest, manifests, tags."""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import zstd

REF_NAME = "org.opencontainers.image.ref.name"
INDEX = "application/vnd.oci.image.index.v1+json"

# Not the time of writing: the same input gives the same layout.
CREATED = "2024-01-01T00:00:00Z"


class Compression(Enum):
    """How a layer's tar is stored. Streams of two parts are legal, and some builders write them."""

    NONE = "none"
    GZIP = "gzip"
    GZIP_TWO_MEMBERS = "gzip, two members"
    ZSTD = "zstd"
    ZSTD_TWO_FRAMES = "zstd, two frames"

    def apply(self, data: bytes) -> bytes:
        """`data` compressed, always to the same bytes."""
        half = len(data) // 2
        match self:
            case Compression.NONE:
                return data
            case Compression.GZIP:
                return _gzip(data)
            case Compression.GZIP_TWO_MEMBERS:
                return _gzip(data[:half]) + _gzip(data[half:])
            case Compression.ZSTD:
                return zstd.compress(data)
            case Compression.ZSTD_TWO_FRAMES:
                return zstd.compress(data[:half]) + zstd.compress(data[half:])

    @property
    def suffix(self) -> str:
        """The algorithm as OCI's media types name it."""
        return self.name.split("_")[0].lower()


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, compresslevel=1, mtime=0)


@dataclass(frozen=True)
class MediaTypes:
    """One family of media types: OCI's own, or Docker's."""

    manifest: str
    config: str
    layer: str
    separator: str

    def layer_type(self, compression: Compression) -> str:
        """The media type of a layer stored with `compression`."""
        if compression is Compression.NONE:
            return self.layer
        return self.layer + self.separator + compression.suffix


OCI = MediaTypes(
    manifest="application/vnd.oci.image.manifest.v1+json",
    config="application/vnd.oci.image.config.v1+json",
    layer="application/vnd.oci.image.layer.v1.tar",
    separator="+",
)
DOCKER = MediaTypes(
    manifest="application/vnd.docker.distribution.manifest.v2+json",
    config="application/vnd.docker.container.image.v1+json",
    layer="application/vnd.docker.image.rootfs.diff.tar",
    separator=".",
)


def sha256(data: bytes) -> str:
    """The digest of `data`, as descriptors write it."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def hexadecimal(digest: str) -> str:
    """A digest without its algorithm."""
    return digest.removeprefix("sha256:")


class Layout:
    """A directory in OCI image layout."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> Layout:
        """An empty layout."""
        (path / "blobs" / "sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        layout = cls(path)
        layout._write_index([])
        return layout

    def reference(self, tag: str) -> str:
        """The image as lazypull's command line names it."""
        return f"oci:{self.path}:{tag}"

    def blob_path(self, digest: str) -> Path:
        """Where a blob is, whether or not it is there."""
        return self.path / "blobs" / "sha256" / hexadecimal(digest)

    def blob(self, digest: str) -> bytes:
        """A blob's bytes, not verified."""
        return self.blob_path(digest).read_bytes()

    def document(self, digest: str) -> dict:
        """A JSON blob."""
        return json.loads(self.blob(digest))

    def put(self, data: bytes, media_type: str) -> dict:
        """Stores a blob and describes it."""
        digest = sha256(data)
        self.blob_path(digest).write_bytes(data)
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put_document(self, document: dict, media_type: str) -> dict:
        """Stores a JSON blob and describes it."""
        return self.put(json.dumps(document).encode(), media_type)

    def put_image(
        self, tag: str, config: dict, layers: list[dict], types: MediaTypes = OCI
    ) -> None:
        """Tags a manifest over layers that are already stored."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": types.manifest,
            "config": self.put_document(config, types.config),
            "layers": layers,
        }
        self.set_tag(tag, self.put_document(manifest, types.manifest))

    def put_tars(
        self,
        tag: str,
        tars: list[bytes],
        compressions: list[Compression] | None = None,
        types: MediaTypes = OCI,
    ) -> None:
        """Tags an image whose layers are `tars`, lowest first; gzip unless said otherwise."""
        compressions = compressions or [Compression.GZIP] * len(tars)
        layers = [
            self.put(compression.apply(tar), types.layer_type(compression))
            for tar, compression in zip(tars, compressions, strict=True)
        ]
        self.put_image(tag, image_config([sha256(tar) for tar in tars]), layers, types)

    def tags(self) -> dict[str, dict]:
        """The descriptors in index.json, by tag."""
        return {
            entry["annotations"][REF_NAME]: entry
            for entry in self._index()["manifests"]
            if REF_NAME in entry.get("annotations", {})
        }

    def untagged(self) -> list[dict]:
        """The descriptors in index.json without a tag: of what refers to others."""
        return [
            entry
            for entry in self._index()["manifests"]
            if REF_NAME not in entry.get("annotations", {})
        ]

    def set_tag(self, tag: str, descriptor: dict) -> None:
        """Makes `tag` name `descriptor`, and nothing else."""
        others = [entry for name, entry in self.tags().items() if name != tag] + self.untagged()
        self._write_index([*others, {**descriptor, "annotations": {REF_NAME: tag}}])

    def manifest(self, tag: str) -> dict:
        """The manifest that `tag` names."""
        return self.document(self.tags()[tag]["digest"])

    def _index(self) -> dict:
        return json.loads((self.path / "index.json").read_text())

    def _write_index(self, manifests: list[dict]) -> None:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests}
        (self.path / "index.json").write_text(json.dumps(index))


def image_config(diff_ids: list[str], **settings: object) -> dict:
    """An image configuration with one history line a layer."""
    return {
        "created": CREATED,
        "architecture": "amd64",
        "os": "linux",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created": CREATED, "created_by": f"layer {number}"}
            for number in range(len(diff_ids))
        ],
    }
