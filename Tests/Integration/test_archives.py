# SPDX-License-Identifier: Apache-2.0
"""Archives and layouts: the same image, wherever it lies."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import stat
import subprocess
import tarfile
from pathlib import Path

import pytest

import kernel
import oci
import tree
from commands import (
    EXIT_CORRUPT,
    EXIT_NO_SPACE,
    EXIT_NOT_FOUND,
    EXIT_UNSUPPORTED,
    EXIT_USAGE,
    Lazypull,
)
from generator import random_stack
from rafs import ConvertedImage
from scenarios import file
from tarball import archive
from workspace import Workspace


def skopeo(source: str, target: str) -> None:
    """Copies an image between places that skopeo knows."""
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", source, target], check=True
    )


@pytest.fixture
def source(workspace: Workspace) -> oci.Layout:
    """A layout with a random stack under the tag `source`."""
    layout = oci.Layout.create(workspace / "source")
    random_stack(2).write_twin(layout, "source")
    return layout


@pytest.fixture
def converted(source: oci.Layout, lazypull: Lazypull) -> ConvertedImage:
    """The same image, converted from the layout."""
    return lazypull.convert(source.reference("source"), source, "lazy")


def pack(layout: oci.Layout, archive: Path) -> None:
    """A plain tar of a layout."""
    with tarfile.open(archive, "w") as tar:
        tar.add(layout.path, ".")


def test_oci_archive_as_source(
    source: oci.Layout, converted: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The bytes are those converted from the layout, for any writer of archives."""
    pack(source, workspace / "plain.tar")
    skopeo(source.reference("source"), f"oci-archive:{workspace / 'skopeo.tar'}:source")
    target = oci.Layout(workspace / "target")
    first = lazypull.convert(f"oci-archive:{workspace / 'plain.tar'}:source", target, "first")
    assert first.digest == converted.digest
    # skopeo has one manifest more to say: the media type's, so only data is the same.
    second = lazypull.convert(f"oci-archive:{workspace / 'skopeo.tar'}", target, "second")
    assert second.data_layers == converted.data_layers
    assert second.bootstrap_layer == converted.bootstrap_layer


SOURCE_DIGEST = "containerd.io/snapshot/nydus-source-digest"


@pytest.mark.parametrize("threads", ["1", "2"])
def test_same_digests_from_everywhere(
    threads: str,
    source: oci.Layout,
    converted: ConvertedImage,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """Where the image lies and how many convert it does not show, but for what is not there."""
    pack(source, workspace / "oci.tar")
    skopeo(source.reference("source"), f"docker-archive:{workspace / 'docker.tar'}:app:v1")
    target = oci.Layout(workspace / "target")
    for image in (source.reference("source"), f"oci-archive:{workspace / 'oci.tar'}:source"):
        for tag in ("first", "second"):
            again = lazypull.convert(image, target, tag, "--threads", threads)
            assert again.digest == converted.digest
    from_docker = {
        tag: lazypull.convert(
            f"docker-archive:{workspace / 'docker.tar'}", target, tag, "--threads", threads
        )
        for tag in ("first", "second")
    }
    assert from_docker["first"].digest == from_docker["second"].digest
    # Such an archive has no manifest whose digest could be told; all else is known.
    manifest, expected = from_docker["first"].manifest, converted.manifest
    digests = [document["annotations"].pop(SOURCE_DIGEST) for document in (manifest, expected)]
    assert digests[1] == source.tags()["source"]["digest"] != digests[0]
    assert manifest == expected


def test_oci_archive_as_target(
    source: oci.Layout, converted: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """An archive is the same bytes every time, checks, mounts, and is what others read."""
    archives = [workspace / name for name in ("first.tar", "second.tar")]
    for archive, threads in zip(archives, "12", strict=True):
        reference = f"oci-archive:{archive}:lazy"
        lazypull.run(
            "convert", "--quiet", "--threads", threads, source.reference("source"), reference
        ).assert_done()
    assert archives[0].read_bytes() == archives[1].read_bytes()
    assert {path.name for path in archives[0].parent.glob("*.tar*")} == {"first.tar", "second.tar"}
    unpacked = workspace.directory("unpacked")
    subprocess.run(["tar", "-xf", archives[0], "-C", unpacked], check=True)
    assert ConvertedImage(oci.Layout(unpacked), "lazy").digest == converted.digest
    reference = f"oci-archive:{archives[0]}:lazy"
    lazypull.check(reference, "--against", source.reference("source")).assert_done()
    raw = ["skopeo", "inspect", "--raw", reference]
    manifest = subprocess.run(raw, check=True, capture_output=True).stdout
    assert oci.sha256(manifest) == converted.digest
    with lazypull.mount(converted.reference, workspace / "cache") as mounted:
        expected = tree.read(mounted.path)
    with lazypull.mount(reference, workspace / "cache2") as mounted:
        tree.assert_same(expected, tree.read(mounted.path))


def test_failed_conversion_leaves_no_archive(
    source: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Nothing is beside the archive that was to be, and one that is there stays."""
    layer = source.manifest("source")["layers"][0]["digest"]
    source.blob_path(layer).write_bytes(source.blob(layer)[:-1])
    target = workspace.directory("out") / "target.tar"
    for _ in range(2):
        result = lazypull.run("convert", source.reference("source"), f"oci-archive:{target}")
        result.assert_refused(oci.hexadecimal(layer))
        assert [path.name for path in target.parent.iterdir()] in ([], ["target.tar"])
        target.write_text("an archive")


def decompressed(layer: bytes) -> bytes:
    """A layer's tar."""
    if layer[:2] == b"\x1f\x8b":
        return gzip.decompress(layer)
    if layer[:4] != b"\x28\xb5\x2f\xfd":
        return layer
    return subprocess.run(["zstd", "-dc"], input=layer, check=True, capture_output=True).stdout


def docker_archive(
    workspace: Workspace, files: dict[str, bytes], links: dict[str, str] = {}
) -> str:
    """An archive as `docker save` writes it, piece by piece."""
    path = workspace / "docker.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in links.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return f"docker-archive:{path}"


def test_a_target_that_is_no_file(
    source: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Neither a device, a pipe nor a directory is replaced by an archive."""
    device, pipe = workspace / "device", workspace / "pipe"
    os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mkfifo(pipe)
    for place in (device, pipe, workspace.directory("directory")):
        before = place.lstat()
        refused = lazypull.run("convert", source.reference("source"), f"oci-archive:{place}:lazy")
        refused.assert_refused(str(place), "no regular file", codes=[EXIT_UNSUPPORTED])
        assert place.lstat() == before
    assert not list(workspace.path.glob("*.tmp"))


@pytest.mark.parametrize("target", ["oci:{}/layout:lazy", "oci-archive:{}/lazy.tar:lazy"])
def test_a_disk_without_room(target: str, lazypull: Lazypull, workspace: Workspace) -> None:
    """The cause has its own exit code, and nothing unfinished stays."""
    layout = oci.Layout.create(workspace / "layout")
    layout.put_tars("source", [archive([file(b"f", random.Random(1).randbytes(4 << 20))])])
    disk = workspace.directory("disk")
    kernel.mount_tmpfs(disk, 2 << 20)
    refused = lazypull.run("convert", layout.reference("source"), target.format(disk))
    refused.assert_refused("No space left", str(disk), codes=[EXIT_NO_SPACE])
    assert not [path for path in disk.rglob("*") if ".tmp" in path.name]


def test_docker_archive(
    source: oci.Layout, converted: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """What skopeo writes as docker does gives the same blobs."""
    path = workspace / "docker.tar"
    skopeo(source.reference("source"), f"docker-archive:{path}:localhost:5000/some/app:v1")
    target = oci.Layout(workspace / "target")
    digests = set()
    for tag in ("", ":v1", ":app:v1", ":localhost:5000/some/app:v1"):
        image = lazypull.convert(f"docker-archive:{path}{tag}", target, "lazy")
        digests.add(image.digest)
        assert image.data_layers == converted.data_layers
        lazypull.check(image.reference, "--against", f"docker-archive:{path}{tag}").assert_done()
    assert len(digests) == 1
    lazypull.run(
        "convert", f"docker-archive:{path}:pp:v1", target.reference("x")
    ).assert_refused("localhost:5000/some/app:v1", codes=[EXIT_NOT_FOUND])
    lazypull.run(
        "convert", source.reference("source"), f"docker-archive:{path}"
    ).assert_refused("only read", codes=[EXIT_USAGE])


def test_docker_archive_of_old_and_odd_writers(
    source: oci.Layout, converted: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A layer that comes again is a link in old archives; other builders compress."""
    manifest = source.manifest("source")
    config = source.blob(manifest["config"]["digest"])
    tars = [source.blob(layer["digest"]) for layer in manifest["layers"]]
    tars = [decompressed(tar) for tar in tars]
    name = oci.hexadecimal(oci.sha256(config)) + ".json"
    names = [f"{number}/layer.tar" for number in range(len(tars))]
    document = json.dumps([{"Config": name, "RepoTags": None, "Layers": names}]).encode()
    files = {"manifest.json": document, name: config, **dict(zip(names, tars, strict=True))}
    files["stored/layer"] = gzip.compress(files.pop(names[0]))
    reference = docker_archive(workspace, files, {names[0]: "../stored/layer"})
    image = lazypull.convert(reference, oci.Layout(workspace / "target"), "lazy")
    assert image.data_layers == converted.data_layers
    files[name] = config + b" "
    lazypull.run("convert", docker_archive(workspace, files), "oci:x").assert_refused(
        "digest mismatch", codes=[EXIT_CORRUPT]
    )


def test_what_is_no_archive(lazypull: Lazypull, workspace: Workspace) -> None:
    """Each is told by its name."""
    empty = docker_archive(workspace, {"file": b""}).removeprefix("docker-archive:")
    (workspace / "docker.tar.gz").write_bytes(gzip.compress(Path(empty).read_bytes()))
    (workspace / "noise").write_bytes(b"noise" * 1000)
    for reference, word, code in [
        (f"docker-archive:{empty}", "manifest.json", EXIT_NOT_FOUND),
        (f"oci-archive:{empty}", "oci-layout", EXIT_NOT_FOUND),
        (f"oci-archive:{empty}.gz", "compressed", EXIT_UNSUPPORTED),
        (f"oci-archive:{workspace / 'noise'}", "noise", EXIT_CORRUPT),
        (f"docker-archive:{workspace / 'missing'}", "missing", EXIT_NOT_FOUND),
    ]:
        for applet in (["convert", reference, "oci:target"], ["check", reference]):
            lazypull.run(*applet).assert_refused(word, codes=[code])
