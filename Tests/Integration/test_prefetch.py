# SPDX-License-Identifier: Apache-2.0
"""convert --prefetch-files: what is named stands first in the blobs and in the prefetch table."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

import judges
import kernel
import oci
import tree
from commands import EXIT_CORRUPT, EXIT_NO_SPACE, EXIT_NOT_FOUND, EXIT_UNSUPPORTED, Lazypull
from layers import MEBIBYTE, Stack
from rafs import ConvertedImage
from scenarios import directory, file, hard_link, symlink
from workspace import Workspace, wait_until

CHUNK = 65_536
OPTIONS = ["--chunk-size", "64K"]
NOISE = random.Random(11).randbytes(MEBIBYTE)


def part(number: int, size: int) -> bytes:
    """Content that no other part has."""
    return NOISE[number * CHUNK : number * CHUNK + size]


A, B, C, D, E, F = (part(2 * n, size) for n, size in enumerate(
    (100_000, 70_000, 30, 131_072, 5, 90_000)))  # fmt: skip


def stack() -> Stack:
    """Two layers; the upper replaces a file, hides one, and links into its own directory."""
    return Stack([
        [directory(b"lib"), file(b"lib/a", A), file(b"lib/b", B), symlink(b"alias", b"/lib"),
         file(b"replaced", C), file(b"hidden", D)],
        [file(b"replaced", E), file(b"x/y/deep", F), file(b"x/first", D), file(b".wh.hidden", b""),
         hard_link(b"x/y/twin", b"x/first"), file(b"empty", b""), file(b"last", A + b"z")],
    ])  # fmt: skip


class Source:
    """The stack in a layout, and conversions of it with lists."""

    def __init__(self, workspace: Workspace, lazypull: Lazypull) -> None:
        self.workspace = workspace
        self.lazypull = lazypull
        self.layout = oci.Layout.create(workspace / "layout")
        stack().write(self.layout, "source")
        self.reference = self.layout.reference("source")

    def list(self, text: str) -> Path:
        """The list in a file."""
        path = self.workspace / "list"
        path.write_text(text)
        return path

    def convert(self, text: str, *options: str) -> ConvertedImage:
        """The image converted with the list."""
        arguments = [*OPTIONS, "--prefetch-files", str(self.list(text)), *options]
        return self.lazypull.convert(self.reference, self.layout, "lazy", *arguments)

    def table(self, image: ConvertedImage) -> list[str]:
        """The paths in the prefetch table, as our reader finds them."""
        lines = self.lazypull.check(image.reference, "--dump").assert_done().output.splitlines()
        return [line.removeprefix("prefetch ") for line in lines if line.startswith("prefetch ")]


@pytest.fixture
def source(workspace: Workspace, lazypull: Lazypull) -> Source:
    """The stack, ready to be converted."""
    return Source(workspace, lazypull)


def contents(image: ConvertedImage, layer: int) -> bytes:
    """What the chunks of a layer's blob hold, in the blob's order."""
    digest = oci.hexadecimal(image.data_layers[layer]["digest"])
    blob = next(blob for blob in image.bootstrap().blobs if blob.identifier == digest)
    stored = image.layout.blob(digest)
    position, result = 0, b""
    for chunk in image.chunks(blob):
        assert chunk.compressed_offset == position, "chunks stand one behind the other"
        position += chunk.compressed_size
        result += chunk.decode(stored[chunk.compressed_offset : position], blob.compressor)
    return result


def test_named_files_come_first_in_their_order(source: Source) -> None:
    """Files, a directory, a link on the way, a name twice; in each layer what that layer has."""
    image = source.convert("/last\n/x\n\n/replaced\n/alias/b\n/last\n/empty\n")
    # The lower layer cannot know that the upper will replace a file.
    assert contents(image, 0) == C + B + A + D
    # x's files before its sub-directories' ones; twin is first's second name.
    assert contents(image, 1) == A + b"z" + D + F + E
    assert source.table(image) == ["/last", "/x", "/replaced", "/lib/b"]


def test_the_bootstrap_takes_chunks_from_where_they_come_first(source: Source) -> None:
    """Of /last one chunk is in the lower layer, too: what is named is one stretch all the same."""
    image = source.convert("/last\n/x/first\n")
    dump = source.lazypull.check(image.reference, "--dump").assert_done().output
    chunks = {
        line.split()[0]: line.split("chunks=")[1].split()[0].split(",")
        for line in dump.splitlines() if line.startswith("/") and "chunks=" in line
    }  # fmt: skip
    named = [address.split(":") for path in ("/last", "/x/first") for address in chunks[path]]
    assert len({blob for blob, _ in named}) == 1
    assert [int(index) for _, index in named] == [0, 1, 2, 3]
    # The lower file's first chunk is the very same, so it is taken from there as well.
    assert chunks["/lib/a"][0] == chunks["/last"][0]


def test_every_reader_reads_the_result(source: Source, workspace: Workspace) -> None:
    """The order of chunks changes no file, for check, mount, unpack and the kernel."""
    image = source.convert("/last\n/x/y\n/lib/b\n")
    source.lazypull.check(image.reference, "--against", source.reference).assert_done()
    expected = judges.umoci_stack(stack(), workspace)
    with source.lazypull.mount(image.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
    unpacked = source.lazypull.unpack(image.reference, workspace / "unpacked")
    tree.assert_same(expected, tree.read(unpacked))
    with judges.mounted_erofs(image.unpack(workspace / "devices"), workspace / "erofs") as path:
        tree.assert_same(expected, tree.read(path))


def test_ranges(source: Source) -> None:
    """Of a file with ranges only the chunks they touch come first; the table names no such file,
    since a reader would fetch all of it, unless the ranges are the whole."""
    image = source.convert(json.dumps({"version": "v1", "files": [
        {"path": "/lib/a", "ranges": [[CHUNK, 1], [1 << 62, 1 << 62]]},
        {"path": "/hidden", "ranges": [[10, 0], [0, CHUNK]]},
        {"path": "/lib/b", "ranges": [[30_000, 1 << 40], [0, 30_000]]},
        {"path": "/replaced"}, {"path": "/lib", "ranges": None},
    ]}), "--quiet")  # fmt: skip
    assert contents(image, 0) == A[CHUNK:] + D[:CHUNK] + B + C + A[:CHUNK] + D[CHUNK:]
    assert source.table(image) == ["/lib/b", "/replaced", "/lib"]


def test_threads_and_standard_input_change_nothing(source: Source) -> None:
    """The same list gives the same bytes; one that names nothing moves nothing."""
    text = "/last\n/x\n/lib/b\n"
    digests = {source.convert(text, "--threads", threads).digest for threads in "127"}
    source.list(text)
    with open(source.workspace / "list") as names:
        subprocess.run(
            [source.lazypull.binary, "convert", "-q", *OPTIONS, "--prefetch-files", "-",
             source.reference, source.layout.reference("stdin")],
            stdin=names, check=True,
        )  # fmt: skip
    digests.add(ConvertedImage(source.layout, "stdin").digest)
    assert len(digests) == 1
    plain = source.lazypull.convert(source.reference, source.layout, "plain", *OPTIONS)
    assert source.convert("\n").digest == plain.digest


def test_names_that_are_not_there(source: Source) -> None:
    """A warning for each, or with --strict the end; a hidden file is not there either."""
    arguments = ["convert", *OPTIONS, "--prefetch-files", source.list("/no\n/lib/b\n/hidden\n")]
    target = source.layout.reference("lazy")
    result = source.lazypull.run(*arguments, source.reference, target).assert_done()
    for name in ("/no", "/hidden"):
        assert f"prefetch list: {name} is not in the image" in result.errors
    assert source.table(ConvertedImage(source.layout, "lazy")) == ["/lib/b"]
    source.lazypull.run(
        *arguments, "--strict", source.reference, source.layout.reference("strict")
    ).assert_refused("2 names", "/no", codes=[EXIT_NOT_FOUND])
    assert "strict" not in source.layout.tags()


def test_a_list_for_another_image(source: Source) -> None:
    """However many names are not there, the warnings end."""
    names = "".join(f"/no{number}\n" for number in range(10_000)) + "/" + "x" * 10**6 + "\n"
    result = source.lazypull.run(
        "convert", "--quiet", "--prefetch-files", source.list(names), source.reference,
        source.layout.reference("lazy"),
    )  # fmt: skip
    lines = result.assert_done().errors.splitlines()
    assert len(lines) == 101
    assert "9901 more" in lines[-1]


@pytest.mark.parametrize(("text", "naming", "code"), [
    ("/a\nrelative\n", "line 2", EXIT_CORRUPT),
    ('{"version":"v1","files":[{"path":"a"}]}', "files[0]", EXIT_CORRUPT),
    ('{"version":"v1","files":[{"path":"/a","ranges":[[1]]}]}', "ranges[0]", EXIT_CORRUPT),
    ('{"version":"v1","files":[{"path":"/a","ranges":[[-1,2]]}]}', "ranges[0]", EXIT_CORRUPT),
    ('{"version":"v2","files":[]}', "version", EXIT_UNSUPPORTED),
    ('{"version":"v1"', "list", EXIT_CORRUPT),
])  # fmt: skip
def test_malformed_lists(source: Source, text: str, naming: str, code: int) -> None:
    """The message names the line or the field."""
    source.lazypull.run(
        "convert", "--prefetch-files", source.list(text), source.reference,
        source.layout.reference("no"),
    ).assert_refused(naming, codes=[code])  # fmt: skip


def test_the_table_is_that_of_nydus(
    fixtures: Path, workspace: Workspace, lazypull: Lazypull
) -> None:
    """The list with which nydus' tools made the fixture `prefetch` gives the same table."""
    foreign = oci.Layout(fixtures / "foreign")
    layout = oci.Layout.create(workspace / "layout")

    def table(image: str) -> list[str]:
        lines = lazypull.check(image, "--dump").assert_done().output.splitlines()
        return [line.removeprefix("prefetch ") for line in lines if line.startswith("prefetch ")]

    names = table(foreign.reference("prefetch"))
    assert len(names) > 1
    (workspace / "list").write_text("".join(f"{name}\n" for name in names))
    image = lazypull.convert(
        foreign.reference("latest"), layout, "lazy", "--prefetch-files", str(workspace / "list")
    )
    assert table(image.reference) == names


def test_the_need_is_stated_and_checked(source: Source, workspace: Workspace) -> None:
    """Before any work: how much is needed, where, and how much is free there."""
    small = workspace.directory("small")
    kernel.mount_tmpfs(small, 256 << 10)
    arguments = ["convert", *OPTIONS, "--prefetch-files", source.list("/lib/a\n")]
    target = source.layout.reference("lazy")
    refused = source.lazypull.run(*arguments, "--work-dir", small, source.reference, target)
    refused.assert_refused(str(small), "262144 are free", codes=[EXIT_NO_SPACE])
    assert "needs up to" in refused.errors and "lazy" not in source.layout.tags()
    missing = workspace / "missing"
    source.lazypull.run(
        *arguments, "--work-dir", missing, source.reference, target
    ).assert_refused(str(missing), codes=[EXIT_NOT_FOUND])
    report = source.lazypull.run(
        *arguments, "-o", "json", source.reference, target,
        env={**os.environ, "TMPDIR": str(workspace.path)},
    ).document()  # fmt: skip
    assert report["spool"]["directory"] == str(workspace.path)
    sizes = [layer["size"] for layer in source.layout.manifest("source")["layers"]]
    assert report["spool"]["size"] == sum(size + size // 8 for size in sizes)
    # Without a list nothing is spooled, and nothing is asked of the directory.
    source.lazypull.run("convert", "--work-dir", missing, source.reference, target).assert_done()


def test_a_killed_conversion_leaves_nothing(workspace: Workspace, lazypull: Lazypull) -> None:
    """The spool has no name that could outlive the process."""
    layout = oci.Layout.create(workspace / "layout")
    noise = random.Random(1)
    big = [file(b"%d" % number, noise.randbytes(MEBIBYTE)) for number in range(48)]
    layout.put_tars("source", Stack([big]).tars(), [oci.Compression.NONE])
    work = workspace.directory("work")
    (workspace / "list").write_text("/47\n")
    process = lazypull.start(
        "convert", "--compression-level", "19", "--prefetch-files", workspace / "list",
        "--work-dir", work, layout.reference("source"), layout.reference("lazy"),
    )  # fmt: skip
    wait_until(lambda: process.poll() is not None or spooled(process.pid, work), "a spool file")
    assert process.poll() is None
    assert list(work.iterdir()) == []
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(work.iterdir()) == []


def spooled(process: int, directory: Path) -> bool:
    """Whether the process has written to a nameless file there."""
    for entry in Path(f"/proc/{process}/fd").iterdir():
        try:
            target = os.readlink(entry)
            if target.startswith(f"{directory}/") and os.stat(entry).st_size > 0:
                return True
        except FileNotFoundError:
            continue
    return False
