# SPDX-License-Identifier: Apache-2.0
"""Blobs of nydus' own tests, from 2022 and 2023, put into images: RAFS v6 as it was then."""

from __future__ import annotations

import gzip
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest

import oci
import rafs
import recorded
from commands import EXIT_CORRUPT, EXIT_UNSUPPORTED, Lazypull
from workspace import Workspace

BLOB_ANNOTATION = "containerd.io/snapshot/nydus-blob"


@dataclass(frozen=True)
class Old:
    """A fixture: its blob, a bootstrap that names it, the name in that, and the tree."""

    blob: str
    bootstrap: str
    name: str
    tree: str


# The names are not the digests of the files: the one leaves out a part, the other was made before
# the file was complete, as in every bootstrap that is inlined.
OLD = {
    "rafs-v6-2.2": Old(
        "nydus/blobs/be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef",
        "nydus/bootstrap/rafs-v6-2.2.boot",
        "be7d77eeb719f70884758d1aa800ed0fb09d701aaec469964e9d54325f0d5fef",
        "expected/rafs-v6-2.2.tree.txt",
    ),
    "toc": Old(
        "nydus/toc/2fa78cad554b75ac91a4a125ed148d0ddeb25efa4aaa8bd80e5dc292690a4dca",
        "expected/toc-2fa78cad.image.boot",
        "d788a0eac4ff9779bc2eae3842117a918d847d90fddbea1503f7c5296a4a7de3",
        "expected/toc-2fa78cad.tree.txt",
    ),
}


def put_image(layout: oci.Layout, bootstrap_tar: bytes, blobs: list[bytes]) -> None:
    """Tags a nydus image as `old`."""
    layers = [
        {**layout.put(blob, rafs.DATA_BLOB), "annotations": {BLOB_ANNOTATION: "true"}}
        for blob in blobs
    ]
    last = layout.put(gzip.compress(bootstrap_tar), oci.OCI.layer_type(oci.Compression.GZIP))
    layers.append({**last, "annotations": {rafs.BOOTSTRAP_ANNOTATION: "true"}})
    diff_ids = [layer["digest"] for layer in layers[:-1]] + [oci.sha256(bootstrap_tar)]
    layout.put_image("old", oci.image_config(diff_ids), layers)


def bootstrap_tar(bootstrap: bytes) -> bytes:
    """A bootstrap layer as nydus made it then: nothing but the bootstrap."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(rafs.BOOTSTRAP_MEMBER)
        info.size = len(bootstrap)
        tar.addfile(info, io.BytesIO(bootstrap))
    return buffer.getvalue()


@pytest.fixture
def layout(workspace: Workspace) -> oci.Layout:
    """A layout for the image."""
    return oci.Layout.create(workspace / "layout")


@pytest.mark.parametrize("name", OLD)
def test_old_blob(
    name: str, fixtures: Path, layout: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Checked, listed, mounted and unpacked, it is the tree that is recorded."""
    old = OLD[name]
    blob = (fixtures / old.blob).read_bytes()
    digest = oci.hexadecimal(oci.sha256(blob)).encode()
    boot = (fixtures / old.bootstrap).read_bytes().replace(old.name.encode(), digest)
    put_image(layout, bootstrap_tar(boot), [blob])
    reference = layout.reference("old")
    expected = recorded.nydus_tree((fixtures / old.tree).read_text())

    lazypull.check(reference).assert_done()
    dump = lazypull.check(reference, "--dump").assert_done().output
    assert recorded.listed(dump) == expected
    roots = [lazypull.unpack(reference, workspace / "unpacked")]
    if name == "toc":
        # The bootstrap that the blob itself carries makes the same image.
        roots.append(lazypull.unpack(reference, workspace / "again", "--layers", "1"))
    files = recorded_contents(name, fixtures, layout)
    with lazypull.mount(reference, workspace / "cache") as mounted:
        for root in [*roots, mounted.path]:
            assert walked(root) == expected
            assert contents(root) == files


def walked(root: Path) -> list[tuple]:
    """A directory of plain files, as `recorded.nydus_tree` gives one."""
    found = []
    for path in [root, *root.iterdir()]:
        status = path.stat()
        name = "/" if path == root else f"/{path.name}"
        kind = "directory" if path == root else "file"
        seconds, nanoseconds = divmod(status.st_mtime_ns, 10**9)
        found.append((name, kind, status.st_mode & 0o7777, status.st_uid, status.st_gid, seconds,
                      nanoseconds, status.st_size if kind == "file" else None))  # fmt: skip
    return sorted(found)


def contents(root: Path) -> dict[str, bytes]:
    """The files' bytes."""
    return {path.name: path.read_bytes() for path in root.iterdir()}


def recorded_contents(name: str, fixtures: Path, layout: oci.Layout) -> dict[str, bytes]:
    """The files' bytes: they stand one after another, each from a multiple of 4096 on."""
    if name == "rafs-v6-2.2":
        view = (fixtures / "expected" / "rafs-v6-2.2.be7d77ee.blob.data").read_bytes()
    else:
        image = rafs.ConvertedImage(layout, "old")
        view = image.unpack(layout.path / "devices").devices[0].read_bytes()
    found, offset = {}, 0
    for path, kind, *_, size in recorded.nydus_tree((fixtures / OLD[name].tree).read_text()):
        if kind == "file":
            found[path[1:]] = view[offset : offset + size]
            offset += -(-size // 4096) * 4096
    assert offset == len(view)
    return found


# What this version does not read, or nobody: the exit code, and a word of the message.
REFUSED = {
    "v5-bootstrap-file-size-736032.tar.gz": (EXIT_UNSUPPORTED, "RAFS v5"),
    "invalid-bootstrap-file-size-133513.tar.gz": (EXIT_CORRUPT, "bootstrap"),
    "invalid.tar.gz": (EXIT_CORRUPT, "no image/image.boot"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_bootstrap_layers(
    name: str, fixtures: Path, layout: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """RAFS v5 is named as what it is, and what is no bootstrap is corrupt."""
    stored = (fixtures / "nydus-snapshotter" / "filesystem-testdata" / name).read_bytes()
    put_image(layout, gzip.decompress(stored), [])
    code, word = REFUSED[name]
    for result in (
        lazypull.check(layout.reference("old")),
        lazypull.run("unpack", layout.reference("old"), workspace / "unpacked"),
        lazypull.try_mount(layout.reference("old"), workspace / "cache"),
    ):
        result.assert_refused(word, codes=[code])
    assert not (workspace / "unpacked").exists()


# The flags of a bootstrap by which nydus marks what we do not read.
FLAGS = {
    "tarfs": 0x200,
    "encrypted": 0x200_0000,
}


@pytest.mark.parametrize("name", FLAGS)
def test_refused_forms(
    name: str, fixtures: Path, layout: oci.Layout, lazypull: Lazypull
) -> None:
    """tarfs and encrypted images are refused by their names."""
    old = OLD["rafs-v6-2.2"]
    boot = bytearray((fixtures / old.bootstrap).read_bytes())
    offset = rafs.EXTENDED_OFFSET
    flags = int.from_bytes(boot[offset : offset + 8], "little")
    boot[offset : offset + 8] = (flags | FLAGS[name]).to_bytes(8, "little")
    put_image(layout, bootstrap_tar(bytes(boot)), [(fixtures / old.blob).read_bytes()])
    lazypull.check(layout.reference("old")).assert_refused(name, codes=[EXIT_UNSUPPORTED])
