# SPDX-License-Identifier: Apache-2.0
"""Archives as other programs write them: what they mean is what umoci unpacks."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

import judges
import oci
import tree
from commands import EXIT_CORRUPT, EXIT_LIMIT_EXCEEDED, EXIT_UNSUPPORTED, Lazypull
from rafs import ConvertedImage
from tarball import Entry, archive
from workspace import Workspace

WRITERS = {
    "gnu": "tar --sparse --format=gnu",
    "oldgnu": "tar --sparse --format=oldgnu",
    "posix 0.0": "tar --sparse --format=posix --sparse-version=0.0",
    "posix 0.1": "tar --sparse --format=posix --sparse-version=0.1",
    "posix 1.0": "tar --sparse --format=posix --sparse-version=1.0",
    "v7": "tar --format=v7",
    "ustar": "tar --format=ustar",
    "xattrs": "tar --xattrs --acls --format=posix",
    "bsdtar pax": "bsdtar --format=pax",
    "bsdtar gnutar": "bsdtar --format=gnutar",
}


def fill(directory: Path) -> None:
    """Files with holes at every place, long names, odd times."""
    (directory / "d").mkdir()
    for name, pieces, size in [
        ("hole", [], 5_000_000),
        ("start", [(0, b"begin")], 3_000_000),
        ("end", [(2_999_997, b"end")], 3_000_000),
        ("many", [(n * 300_000, b"run %d" % n) for n in range(60)], 20_000_001),
        ("d/dense", [(0, b"dense" * 1000)], 5000),
        ("empty", [], 0),
    ]:
        with open(directory / name, "wb") as file:
            for offset, data in pieces:
                file.seek(offset)
                file.write(data)
            file.truncate(size)
    (directory / "d" / "link").symlink_to("../hole")
    (directory / "again").hardlink_to(directory / "many")


def compare(
    tar: bytes, lazypull: Lazypull, workspace: Workspace, *options: str
) -> ConvertedImage:
    """Converts an image of the one archive; umoci's tree and the mount's must be the same."""
    layout = oci.Layout.create(workspace / "layout")
    layout.put_tars("source", [tar])
    image = lazypull.convert(layout.reference("source"), layout, "lazy", *options)
    lazypull.check(image.reference, "--against", layout.reference("source")).assert_done()
    # umoci and containerd refuse GNU's own sparse files; GNU tar is the judge of those.
    if tarfile.GNUTYPE_SPARSE in {entry.type for entry in tarfile.open(fileobj=io.BytesIO(tar))}:
        expected = judges.gnu_tar(tar, workspace.directory("unpacked"))
    else:
        expected = judges.umoci(layout, "source", workspace / "unpacked")
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
    return image


@pytest.mark.parametrize("writer", WRITERS)
def test_other_writers(writer: str, lazypull: Lazypull, workspace: Workspace) -> None:
    """Every program's archive of the same files gives the tree that umoci unpacks."""
    command = WRITERS[writer].split()
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    files = workspace.directory("files")
    fill(files)
    archive = workspace / "layer.tar"
    subprocess.run([*command, "-cf", archive, "-C", files, "."], check=True)
    compare(archive.read_bytes(), lazypull, workspace)


@pytest.mark.parametrize("format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_odd_entries(format: int, lazypull: Lazypull, workspace: Workspace) -> None:
    """Names of 255 bytes, paths beyond that, times at the ends of time, entries again."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format, errors="surrogateescape") as tar:

        def add(name: str, content: bytes = b"", mtime: int = 0, **fields: object) -> None:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), mtime
            for field, value in fields.items():
                setattr(info, field, value)
            tar.addfile(info, io.BytesIO(content))

        # umoci gives directories that no entry describes the time of unpacking.
        add("./", type=tarfile.DIRTYPE, mode=0o755)
        for depth in range(1, 4):
            add("/".join(["n" * 255] * depth), type=tarfile.DIRTYPE, mode=0o755, mtime=1)
        add("/".join(["n" * 255] * 4), b"deep", mtime=2**31)
        add("bytes \udcff\udc80", b"no UTF-8", mtime=2**33)
        add("past", b"past", mtime=-(2**31))
        add("before", b"before", mtime=-1)
        add("twice", b"the first", mtime=5)
        add("twice", b"the second", mtime=6, uid=2**31 - 1, gid=2**22)
        add("./dots/../file", b"x")
        add("large", b"", uid=2**32 - 2)
    compare(buffer.getvalue(), lazypull, workspace)


def sparse_bomb(size: int) -> bytes:
    """An archive of one file with nothing but a hole."""
    info = tarfile.TarInfo("bomb")
    info.pax_headers = {"GNU.sparse.size": str(size), "GNU.sparse.map": f"{size},0"}
    return info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    "tar, options",
    [
        (sparse_bomb(2**62), []),
        (sparse_bomb(2**30 + 1), ["--max-layer-size", "1"]),
        (sparse_bomb(2**25), ["--max-chunks", "31"]),
    ],
    ids=["content", "size", "chunks"],
)
def test_limits(
    tar: bytes, options: list[str], lazypull: Lazypull, workspace: Workspace
) -> None:
    """What would cost too much is refused before it has cost much."""
    layout = oci.Layout.create(workspace / "layout")
    layout.put_tars("source", [tar])
    result = lazypull.run(
        "convert", *options, layout.reference("source"), layout.reference("lazy")
    )
    named = options[0] if options else "--max-layer-size"
    result.assert_refused("more than", f"{named} raises the limit", codes=[EXIT_LIMIT_EXCEEDED])
    assert "lazy" not in layout.tags()


def test_gzip_bomb(lazypull: Lazypull, workspace: Workspace) -> None:
    """What follows the archive counts, too."""
    layout = oci.Layout.create(workspace / "layout")
    layout.put_tars("source", [bytes(2**30 + 2**20)])
    source, target = layout.reference("source"), layout.reference("lazy")
    result = lazypull.run("convert", "--max-layer-size", "1", source, target)
    result.assert_refused("more than", codes=[EXIT_LIMIT_EXCEEDED])
    lazypull.run("convert", source, target).assert_done()


def test_deep_and_many(lazypull: Lazypull, workspace: Workspace) -> None:
    """Depth and number of entries have limits that can be moved."""
    layout = oci.Layout.create(workspace / "layout")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a/b/c/d/e/f"))
    layout.put_tars("source", [buffer.getvalue()])
    source, target = layout.reference("source"), layout.reference("lazy")
    for option in (["--max-depth", "4"], ["--max-entries", "6"]):
        refused = lazypull.run("convert", *option, source, target)
        refused.assert_refused("more than" if "entries" in option[0] else "deeper than",
                               f"{option[0]} raises the limit",
                               codes=[EXIT_LIMIT_EXCEEDED])  # fmt: skip
    lazypull.run("convert", "--max-depth", "5", "--max-entries", "7", source, target).assert_done()


def test_limits_hold_for_converted_images(lazypull: Lazypull, workspace: Workspace) -> None:
    """What was converted under raised limits is checked, laid out and merged under the same."""
    layout = oci.Layout.create(workspace / "layout")
    depth = 4100
    layout.put_tars("source", [archive([Entry(b"d/" * depth + b"f", content=b"x")])])
    source, lazy = layout.reference("source"), layout.reference("lazy")
    raised = ["--max-depth", str(depth)]
    refused = lazypull.run("convert", source, lazy)
    refused.assert_refused("--max-depth raises the limit", codes=[EXIT_LIMIT_EXCEEDED])
    lazypull.run("convert", "--quiet", *raised, source, lazy).assert_done()
    lazypull.run("check", "--quiet", *raised, lazy, "--against", source).assert_done()
    lazypull.run("check", "--quiet", *raised, "--layers", "1", lazy).assert_done()
    lazypull.run("check", "--quiet", *raised, "--dump", lazy).assert_done()
    mount = ["mount", "--layers", "1", "--cache-dir", workspace / "cache"]
    for command in (["check"], ["check", "--layers", "1"], ["check", "--dump"], ["unpack"], mount):
        needs_place = command[0] in ("unpack", "mount")
        place = [workspace.directory(command[0])] if needs_place else []
        limited = lazypull.run(*command, lazy, *place)
        limited.assert_refused("--max-depth raises the limit", codes=[EXIT_LIMIT_EXCEEDED])
    few = lazypull.run("unpack", "--max-entries", "9", *raised, lazy, workspace.directory("few"))
    few.assert_refused("--max-entries raises the limit", codes=[EXIT_LIMIT_EXCEEDED])


def test_a_hostile_name_makes_no_hostile_message(
    lazypull: Lazypull, workspace: Workspace
) -> None:
    """A message is one line of bounded length, and no terminal obeys what an image says."""
    layout = oci.Layout.create(workspace / "layout")
    target = layout.reference("lazy")
    layout.put_tars("long", [archive([Entry(b"n" * 800_000)])])
    layout.put_tars("escape", [archive([Entry(b"f")])])
    manifest = layout.manifest("escape")
    manifest["layers"][0]["digest"] = "sha256:\x1b[31m\n" + "x" * 100_000
    layout.set_tag("escape", layout.put_document(manifest, oci.OCI.manifest))
    for tag, naming in (("long", " [...] "), ("escape", "\\u{1b}[31m\\u{a}x")):
        refused = lazypull.run("convert", "--quiet", layout.reference(tag), target)
        refused.assert_refused(naming, codes=[EXIT_CORRUPT])
        assert len(refused.errors) < 4200
        assert refused.errors.count("\n") == 1
        assert refused.errors.rstrip("\n").isprintable()


def test_a_zstd_window_beyond_reach(lazypull: Lazypull, workspace: Workspace) -> None:
    """A frame that wants gigabytes to be decoded is not called corrupt."""
    layout = oci.Layout.create(workspace / "layout")
    tar = archive([Entry(b"f", content=bytes(1000))])
    # Magic number; a window descriptor of 2^31 bytes; one raw block, the last.
    frame = b"\x28\xb5\x2f\xfd\x00\xa8" + (len(tar) << 3 | 1).to_bytes(3, "little") + tar
    layer = layout.put(frame, oci.OCI.layer_type(oci.Compression.ZSTD))
    layout.put_image("source", oci.image_config([oci.sha256(tar)]), [layer])
    refused = lazypull.run("convert", layout.reference("source"), layout.reference("lazy"))
    refused.assert_refused("window of more than 128 MiB", codes=[EXIT_UNSUPPORTED])
