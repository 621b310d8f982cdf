# SPDX-License-Identifier: Apache-2.0
"""Images that stay as they are, and an index by which their layers are read at any place."""

from __future__ import annotations

import json
import os
import random
import subprocess
import zlib
from pathlib import Path

import pytest

import oci
import tree
import zstd
from commands import EXIT_CORRUPT, EXIT_NOT_FOUND, EXIT_UNSUPPORTED, EXIT_USAGE, Lazypull, Result
from gateway import Gateway
from layers import Stack
from rich import rich_layers
from scenarios import directory, file
from services import Registry
from workspace import Workspace

HERE = Path(__file__).parent
REFERENCE = "containerd.io/snapshot/nydus-ref"
GZIP = oci.OCI.layer + "+gzip"
MEBIBYTE = 1 << 20
INDEX = ("convert", "--quiet", "--format", "zran")


def contents() -> dict[str, bytes]:
    """Files by name: large and small, of all kinds of content, some of them repeated."""
    rng = random.Random(11)
    words = [rng.randbytes(rng.randint(2, 9)) for _ in range(3000)]
    text = b" ".join(rng.choice(words) for _ in range(600_000))
    files = {
        "text": text,
        "noise": rng.randbytes(3 * MEBIBYTE + 5),
        "zeros": bytes(5 * MEBIBYTE + 1),
        "again": text[: 2 * MEBIBYTE],
        "mixed": b"".join(
            rng.choice((text[n : n + 9000], rng.randbytes(7000), bytes(8000)))
            for n in range(0, 4_000_000, 9000)
        ),
        "empty": b"",
    }
    files |= {f"small{n}": text[n * 1000 : n * 1000 + rng.randint(1, 4000)] for n in range(400)}
    return files


def stack(files: dict[str, bytes]) -> Stack:
    return Stack([
        [directory(b"d"), *(file(b"d/" + name.encode(), data) for name, data in files.items())]
    ])  # fmt: skip


def stored_blocks(data: bytes) -> bytes:
    """A member of stored blocks alone."""
    compressor = zlib.compressobj(0, wbits=31)
    return compressor.compress(data) + compressor.flush()


def go_program(workspace: Workspace) -> list[str]:
    """Go's compress/gzip, as umoci and skopeo have it."""
    program = workspace / "gzip-go"
    source = HERE.parent / "Benchmarks" / "gzip.go"
    environment = {**os.environ, "GOCACHE": str(workspace / "go-cache"), "GO111MODULE": "off"}
    subprocess.run(["go", "build", "-o", program, source], check=True, env=environment)
    return [str(program)]


# How every writer of gzip is called that layers come from.
WRITERS = {
    "gzip -1": ["gzip", "-1", "-n"],
    "gzip -6": ["gzip", "-6", "-n"],
    "gzip -9": ["gzip", "-9", "-n"],
    "pigz": ["pigz", "-n", "-p", "4"],
    "pigz, independent blocks": ["pigz", "-n", "-i", "-b", "128"],
    "zopfli": ["zopfli", "--i1", "-c", "/dev/stdin"],
    "bgzip": ["bgzip", "-c"],
    "igzip -0": ["igzip", "-0", "-c"],
    "igzip -3": ["igzip", "-3", "-c"],
    "Go": [],
    "stored blocks": [],
    "two members": [],
}


def compress(writer: str, data: bytes, workspace: Workspace) -> bytes:
    """A tar compressed by one of them."""
    if writer == "stored blocks":
        return stored_blocks(data)
    if writer == "two members":
        # In the middle of a chunk, and one that holds nothing.
        parts = (data[:5_000_001], b"", data[5_000_001:])
        return b"".join(compress("gzip -6", part, workspace) for part in parts)
    if writer == "zopfli":
        plain = workspace / "plain.tar"
        plain.write_bytes(data)
        command = ["zopfli", "--i1", "-c", str(plain)]
    else:
        command = WRITERS[writer] or go_program(workspace)
    return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout


def layout_of(tars: list[bytes], layers: list[bytes], workspace: Workspace) -> oci.Layout:
    """A layout with one image, `image`, of gzip layers."""
    layout = oci.Layout.create(workspace / "layout")
    layout.put_image(
        "image",
        oci.image_config([oci.sha256(tar) for tar in tars]),
        [layout.put(layer, GZIP) for layer in layers],
    )
    return layout


def attach(lazypull: Lazypull, reference: str, *options: str) -> dict:
    """Makes an index; the report."""
    arguments = ("--output", "json", *options, reference)
    return json.loads(lazypull.run(*INDEX, *arguments).assert_done().output)


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("span", ["256K", "4M"])
def test_writers(writer: str, span: str, lazypull: Lazypull, workspace: Workspace) -> None:
    """Whoever has written a layer: every byte is right, read anywhere."""
    files = contents()
    if writer == "zopfli":
        # Which takes a minute for all of them.
        files = {name: data[: MEBIBYTE // 2] for name, data in files.items()}
    (tar,) = stack(files).tars()
    layout = layout_of([tar], [compress(writer, tar, workspace)], workspace)
    image = layout.reference("image")
    report = attach(lazypull, image, "--span-size", span)
    (layer,) = report["layers"]
    # Which makes one block of a whole layer.
    assert (layer["storedBecause"] is not None) == (writer == "igzip -0"), layer
    lazypull.check(image, "--against", image).assert_done()
    rng = random.Random(3)
    with lazypull.mount(image, workspace / "cache") as mounted:
        for _ in range(150):
            name = rng.choice(["text", "noise", "zeros", "mixed", "again", "small7", "small399"])
            data = files[name]
            offset = rng.randrange(len(data))
            size = rng.choice((1, 4096, 100_000))
            with open(mounted.path / "d" / name, "rb") as stream:
                stream.seek(offset)
                assert stream.read(size) == data[offset : offset + size], (name, offset, size)
        for name, data in files.items():
            assert (mounted.path / "d" / name).read_bytes() == data, name


def test_all_that_tar_holds(lazypull: Lazypull, workspace: Workspace) -> None:
    """Layers with everything, sparse files among it, which are stored again."""
    layout = oci.Layout.create(workspace / "layout")
    layout.put_tars("image", [layer.tar for layer in rich_layers(workspace.directory("files"))])
    image = layout.reference("image")
    expected = lazypull.convert(image, layout, "lazy")
    before = layout.tags()["image"]
    attach(lazypull, image)
    assert layout.tags()["image"] == before
    lazypull.check(image, "--against", image).assert_done()
    with (
        lazypull.mount(image, workspace / "cache") as mounted,
        lazypull.mount(expected.reference, workspace / "other-cache") as other,
    ):
        tree.assert_same(tree.read(other.path), tree.read(mounted.path))


def test_other_compressions(lazypull: Lazypull, workspace: Workspace) -> None:
    """A layer that is not compressed is read by offset; of zstd, frames are, or it is fetched whole,
    once."""
    contents = [random.Random(n).randbytes(2_000_000) + bytes(90_000) for n in range(4)]
    tars = [stack({f"f{n}": content}).tars()[0] for n, content in enumerate(contents)]
    frames = b"".join(
        zstd.compress(tars[2][n : n + 100_000]) for n in range(0, len(tars[2]), 100_000)
    )
    layers = [
        (tars[0], ""), (zstd.compress(tars[1]), "+zstd"), (frames, "+zstd"),
        (oci.Compression.GZIP.apply(tars[3]), "+gzip"),
    ]  # fmt: skip
    layout = oci.Layout.create(workspace / "layout")
    layout.put_image(
        "image",
        oci.image_config([oci.sha256(tar) for tar in tars]),
        [layout.put(data, oci.OCI.layer + suffix) for data, suffix in layers],
    )
    image = layout.reference("image")
    report = attach(lazypull, image, "--chunk-size", "256K", "--span-size", "512K")
    plain, single, frames, gzip = report["layers"]
    assert plain["index"]["compression"] == "uncompressed"
    assert single["storedBecause"] is None and single["index"]["fetchedWhole"]
    assert [layer["index"]["fetchedWhole"] for layer in (plain, frames, gzip)] == [False] * 3
    assert frames["index"]["compression"] == "zstd" and 5 <= frames["index"]["spans"] <= 9
    assert gzip["index"]["compression"] == "gzip"
    lazypull.check(image, "--against", image).assert_done()
    unpacked = lazypull.unpack(image, workspace / "unpacked")
    with lazypull.mount(image, workspace / "cache") as mounted:
        for n, content in enumerate(contents):
            assert (unpacked / f"d/f{n}").read_bytes() == content
            assert (mounted.path / f"d/f{n}").read_bytes() == content
    text = lazypull.run("convert", "--format", "zran", image).assert_done().output
    assert f"layer {oci.sha256(layers[1][0])}: fetched whole when any of it is read" in text
    # From a registry: once, for readers of any part of it.
    registry = Registry(workspace)
    with Gateway(registry.address) as gateway:
        pushed = f"docker://{gateway.address}/app:image"
        lazypull.run("push", "--quiet", image, pushed).assert_done()
        gateway.seen.clear()
        with lazypull.mount(pushed, workspace / "other-cache") as mounted:
            for offset in (1_900_000, 5_000, 1_000_000):
                with open(mounted.path / "d/f1", "rb") as stream:
                    stream.seek(offset)
                    assert stream.read(100) == contents[1][offset:][:100]
        requests = [seen for seen in gateway.seen if oci.sha256(layers[1][0]) in seen.path]
        assert [(seen.method, seen.status) for seen in requests] == [("GET", 200)], requests


def test_damage_of_a_layer_that_is_fetched_whole(lazypull: Lazypull, workspace: Workspace) -> None:
    """An error of the read, never a wrong byte; and what is told of it by `check`."""
    content = random.Random(9).randbytes(3_000_000)
    (tar,) = stack({"f": content}).tars()
    layer = bytearray(zstd.compress(tar))
    layout = oci.Layout.create(workspace / "layout")
    descriptor = layout.put(bytes(layer), oci.OCI.layer + "+zstd")
    layout.put_image("image", oci.image_config([oci.sha256(tar)]), [descriptor])
    image = layout.reference("image")
    attach(lazypull, image)
    # What is stored as it is has no checksum of its own.
    layer[len(layer) // 2] ^= 1
    layout.blob_path(descriptor["digest"]).write_bytes(layer)
    lazypull.check(image).assert_refused("digest mismatch", codes=[EXIT_CORRUPT])
    with lazypull.mount(image, workspace / "cache") as mounted:
        with pytest.raises(OSError):
            (mounted.path / "d/f").read_bytes()
        with open(mounted.path / "d/f", "rb") as stream:
            assert stream.read(4096) == content[:4096]


def test_index_is_attached(lazypull: Lazypull, workspace: Workspace) -> None:
    """The image does not change; what refers to it has its layers as its data, and no other."""
    files = contents()
    (tar,) = stack(files).tars()
    layout = layout_of([tar], [oci.Compression.GZIP.apply(tar)], workspace)
    before = layout.tags()["image"]
    blobs = set((layout.path / "blobs/sha256").iterdir())
    report = attach(lazypull, layout.reference("image"))
    name = {"name": layout.reference("image"), "before": before["digest"], "after": before["digest"]}
    assert report["sourceName"] == name
    assert layout.tags() == {"image": before}
    (listed,) = layout.untagged()
    assert listed["digest"] == report["manifest"]["digest"]
    manifest = layout.document(listed["digest"])
    assert manifest["subject"]["digest"] == before["digest"]
    original = layout.manifest("image")
    references = [layer["annotations"][REFERENCE] for layer in manifest["layers"][:-1]]
    assert references == [layer["digest"] for layer in original["layers"]]
    added = set((layout.path / "blobs/sha256").iterdir()) - blobs
    assert sum(path.stat().st_size for path in added) < len(tar) / 50
    # By the layout's only image, too, if it has no tag.
    text = (layout.path / "index.json").read_text()
    index = json.loads(text)
    del index["manifests"][0]["annotations"]
    (layout.path / "index.json").write_text(json.dumps(index))
    lazypull.check(f"oci:{layout.path}").assert_done()
    (layout.path / "index.json").write_text(text)
    # The same image and options give the same bytes.
    again = attach(lazypull, layout.reference("image"))
    assert again["manifest"] == report["manifest"] and len(layout.untagged()) == 1


def test_directory_of_indexes(lazypull: Lazypull, workspace: Workspace) -> None:
    """An index in a directory serves an image that nothing is attached to."""
    files = contents()
    (tar,) = stack(files).tars()
    layout = layout_of([tar], [oci.Compression.GZIP.apply(tar)], workspace)
    image = layout.reference("image")
    index = (layout.path / "index.json").read_bytes()
    directory = workspace / "indexes"
    attach(lazypull, image, "--index-dir", str(directory))
    assert (layout.path / "index.json").read_bytes() == index
    lazypull.check(image, "--index-dir", str(directory)).assert_done()
    lazypull.check(image, "--index-dir", str(workspace / "none")).assert_refused(
        "not a converted image", codes=[EXIT_UNSUPPORTED]
    )
    assert not (directory / "blobs/sha256" / oci.hexadecimal(oci.sha256(tar))).exists()
    with lazypull.mount(
        image, workspace / "cache", None, "--index-dir", str(directory)
    ) as mounted:
        assert (mounted.path / "d/mixed").read_bytes() == files["mixed"]


def test_collector(lazypull: Lazypull, workspace: Workspace) -> None:
    """Of a directory of indexes goes what was replaced, and what nothing names; nothing else."""
    directory, indexes = workspace / "indexes", []
    contents = {"one": b"1" * 300_000, "other": random.Random(1).randbytes(300_000)}
    for name, content in contents.items():
        (tar,) = stack({name: content}).tars()
        (workspace / name).mkdir()
        layout = oci.Layout.create(workspace / name / "layout")
        layer = layout.put(oci.Compression.GZIP.apply(tar), GZIP)
        layout.put_image("image", oci.image_config([oci.sha256(tar)]), [layer])
        indexes.append(layout.reference("image"))
    for size in ("4K", "8K"):
        for image in indexes:
            attach(lazypull, image, "--index-dir", str(directory), "--chunk-size", size)
    blobs = directory / "blobs/sha256"
    stray = blobs / ("1" * 64)
    stray.write_bytes(b"left by a writer that was killed")
    before = sorted(blobs.iterdir())

    def collect(*options: str) -> dict:
        words = ("gc", "--output", "json", "--index-dir", directory, *options)
        return json.loads(lazypull.run(*words).assert_done().output)

    # Replaced or not: what is young may be a writer's.
    assert collect("--dry-run")["blobs"] == 0
    would = collect("--dry-run", "--min-age", "0")
    assert (len(would["replaced"]), would["dryRun"]) == (2, True)
    assert sorted(blobs.iterdir()) == before
    done = collect("--min-age", "0")
    assert {**done, "dryRun": True} == would
    assert len(before) - len(list(blobs.iterdir())) == done["blobs"] > 2
    assert not stray.exists()
    assert collect("--min-age", "0") == {**done, "replaced": [], "blobs": 0, "bytes": 0}
    for image in indexes:
        lazypull.check(image, "--index-dir", str(directory)).assert_done()
    # Where it is not known what is needed, nothing goes.
    stray.write_bytes(b"once more")
    listed = json.loads((directory / "index.json").read_text())["manifests"]
    (blobs / oci.hexadecimal(listed[0]["digest"])).unlink()
    lazypull.run("gc", "--min-age", "0", "--index-dir", directory).assert_refused(
        oci.hexadecimal(listed[0]["digest"])[:12], codes=[EXIT_NOT_FOUND]
    )
    assert stray.exists()
    # And there need not be such a directory.
    lazypull.run("gc", "--index-dir", workspace / "none").assert_done()


def registry_image(registry: Registry, workspace: Workspace, files: dict[str, bytes]) -> str:
    """Pushes an image of one gzip layer by skopeo; its digest."""
    (tar,) = stack(files).tars()
    layout = layout_of([tar], [compress("gzip -6", tar, workspace)], workspace)
    registry.push(layout, "image")
    return layout.tags()["image"]["digest"]


def tag_digest(address: str, tag: str = "image") -> str:
    """What a tag stands for in the registry."""
    output = subprocess.run(
        ["skopeo", "inspect", "--tls-verify=false", "--raw", f"docker://{address}/app:{tag}"],
        stdout=subprocess.PIPE, check=True,
    ).stdout  # fmt: skip
    return oci.sha256(output)


@pytest.mark.parametrize("lists_referrers", [False, True])
def test_registry(lists_referrers: bool, lazypull: Lazypull, workspace: Workspace) -> None:
    """The index is found by the registry's list, or by the tag in its stead."""
    files = contents()
    registry = Registry(workspace)
    before = registry_image(registry, workspace, files)
    with Gateway(registry.address) as gateway:
        gateway.behaviour.lists_referrers = lists_referrers
        image = f"docker://{gateway.address}/app:image"
        attach(lazypull, image)
        output = lazypull.run("convert", "--format", "zran", image).assert_done().output
        assert f"was {before} before\nand is {before} after: not changed" in output
        assert tag_digest(registry.address) == before
        tags = subprocess.run(
            ["skopeo", "list-tags", "--tls-verify=false", f"docker://{registry.address}/app"],
            stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip
        fallback = before.replace(":", "-")
        assert (fallback in json.loads(tags)["Tags"]) == (not lists_referrers)
        lazypull.check(image, "--against", image).assert_done()
        with lazypull.mount(image, workspace / "cache") as mounted:
            assert (mounted.path / "d/text").read_bytes() == files["text"]
        # It goes along when the image is copied.
        copied = oci.Layout(workspace / "copied")
        lazypull.run("push", "--quiet", image, copied.reference("image")).assert_done()
        lazypull.check(copied.reference("image")).assert_done()


@pytest.mark.parametrize("filters", [False, True])
def test_the_index_is_asked_for_by_its_type(
    filters: bool, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Among many signatures: a registry that filters tells of the index alone, on one page."""
    registry = Registry(workspace)
    before = registry_image(registry, workspace, {"text": b"text"})
    with Gateway(registry.address) as gateway:
        gateway.behaviour.lists_referrers = True
        gateway.behaviour.filters_referrers = filters
        signatures = [
            {
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "digest": oci.sha256(b"%d" % number),
                "size": 100,
                "artifactType": "application/vnd.example.signature",
            }
            for number in range(5)
        ]
        gateway.referrers[before] = list(signatures)
        image = f"docker://{gateway.address}/app:image"
        attach(lazypull, image)

        def pages() -> list[bool]:
            """Whether each page that a check has asked for is of one type."""
            gateway.seen.clear()
            lazypull.check(image).assert_done()
            asked = [seen.path for seen in gateway.seen if "/referrers/" in seen.path]
            return ["artifactType=application%2Fvnd.nydus" in path for path in asked]

        assert pages() == [True] * (1 if filters else 6)
        # An older converter's has no type but its configuration's: all are looked through then.
        gateway.referrers[before][-1]["artifactType"] = "application/vnd.oci.image.config.v1+json"
        assert pages() == ([True] + [False] * 6 if filters else [True] * 6)


def test_merged_index(lazypull: Lazypull, workspace: Workspace) -> None:
    """Where a registry knows neither list nor tag, an index holds both; the original is first."""
    files = contents()
    registry = Registry(workspace)
    before = registry_image(registry, workspace, files)
    source = f"docker://{registry.address}/app:image"
    target = f"docker://{registry.address}/app:merged"
    lazypull.run(*INDEX, "--merge-index", source, target).assert_done()
    assert tag_digest(registry.address) == before
    lazypull.check(target, "--against", source).assert_done()


def test_a_random_read_fetches_one_span(lazypull: Lazypull, workspace: Workspace) -> None:
    """Counted at the registry: of a cold file no more than a span, in parts that are its own."""
    files = {"noise": random.Random(1).randbytes(40 * MEBIBYTE), "small": b"x" * 100}
    registry = Registry(workspace)
    registry_image(registry, workspace, files)
    with Gateway(registry.address) as gateway:
        image = f"docker://{gateway.address}/app:image"
        attach(lazypull, image)
        with lazypull.mount(image, workspace / "cache") as mounted:
            for offset in (17 * MEBIBYTE + 12_345, 3 * MEBIBYTE, 39 * MEBIBYTE):
                gateway.seen.clear()
                descriptor = os.open(mounted.path / "d/noise", os.O_RDONLY | os.O_DIRECT)
                try:
                    data = os.pread(descriptor, 4096, offset)
                finally:
                    os.close(descriptor)
                assert data == files["noise"][offset : offset + 4096]
                ranges = [seen for seen in gateway.seen if seen.range]
                assert sum(seen.size for seen in ranges) <= 4.5 * MEBIBYTE, ranges
                places = sorted(
                    tuple(map(int, seen.range.removeprefix("bytes=").split("-")))
                    for seen in ranges
                )
                # A large range comes in parts at once, which follow each other.
                assert 1 <= len(places) <= 4
                for (_, end), (start, _) in zip(places, places[1:]):
                    assert start == end + 1
            # What a span holds besides is here: its neighbours cost nothing.
            gateway.seen.clear()
            with open(mounted.path / "d/noise", "rb") as stream:
                stream.seek(17 * MEBIBYTE)
                assert stream.read(4096) == files["noise"][17 * MEBIBYTE :][:4096]
            assert not [seen for seen in gateway.seen if seen.range]


def test_reading_all_fetches_each_span_once(lazypull: Lazypull, workspace: Workspace) -> None:
    """Spans share a block at most, and none is asked for twice."""
    files = contents()
    (tar,) = stack(files).tars()
    layout = layout_of([tar], [compress("gzip -6", tar, workspace)], workspace)
    image = layout.reference("image")
    report = attach(lazypull, image)
    (layer,) = report["layers"]
    with lazypull.mount(image, workspace / "cache") as mounted:
        for name, data in files.items():
            assert (mounted.path / "d" / name).read_bytes() == data
        statistics = mounted.statistics()
    assert statistics["fetches"] <= layer["index"]["spans"]
    assert statistics["fetched-bytes"] < layer["source"]["size"] * 1.1


class Damage:
    """An image with an index of which one blob is replaced, all digests on the way made right."""

    def __init__(self, lazypull: Lazypull, workspace: Workspace) -> None:
        self.files = contents()
        (tar,) = stack(self.files).tars()
        self.layout = layout_of([tar], [compress("gzip -6", tar, workspace)], workspace)
        attach(lazypull, self.layout.reference("image"))
        (self.listed,) = self.layout.untagged()
        self.manifest = self.layout.document(self.listed["digest"])

    def replace_manifest(self, change) -> None:
        """Attaches another manifest instead."""
        change(self.manifest)
        index = json.loads((self.layout.path / "index.json").read_text())
        new = self.layout.put_document(self.manifest, oci.OCI.manifest)
        index["manifests"] = [
            entry if entry["digest"] != self.listed["digest"] else {**entry, **new}
            for entry in index["manifests"]
        ]
        (self.layout.path / "index.json").write_text(json.dumps(index))


def test_an_index_of_another_image_is_none(lazypull: Lazypull, workspace: Workspace) -> None:
    """What names other layers than the image's, or another subject, does not count."""
    damage = Damage(lazypull, workspace)

    def refer_elsewhere(manifest: dict) -> None:
        manifest["layers"][0]["annotations"][REFERENCE] = "sha256:" + "1" * 64

    damage.replace_manifest(refer_elsewhere)
    lazypull.check(damage.layout.reference("image")).assert_refused("not a converted image")


def test_damaged_metadata_is_refused(lazypull: Lazypull, workspace: Workspace) -> None:
    """A byte of the blob that describes a layer: named, before anything is read by it."""
    damage = Damage(lazypull, workspace)
    blob = damage.manifest["layers"][0]
    path = damage.layout.blob_path(blob["digest"])
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    image = damage.layout.reference("image")
    lazypull.check(image).assert_refused(oci.hexadecimal(blob["digest"])[:12], codes=[EXIT_CORRUPT])
    result = lazypull.try_mount(image, workspace / "cache")
    assert isinstance(result, Result)
    result.assert_refused("digest mismatch")


def test_damaged_layer_gives_no_wrong_byte(lazypull: Lazypull, workspace: Workspace) -> None:
    """Bytes of the layer that are wrong are an error of the read, and of nothing beside it."""
    damage = Damage(lazypull, workspace)
    (layer,) = damage.layout.manifest("image")["layers"]
    path = damage.layout.blob_path(layer["digest"])
    data = bytearray(path.read_bytes())
    rng = random.Random(2)
    for _ in range(3):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)
    failures = 0
    with lazypull.mount(damage.layout.reference("image"), workspace / "cache") as mounted:
        for name, content in damage.files.items():
            try:
                assert (mounted.path / "d" / name).read_bytes() == content, name
            except OSError:
                failures += 1
    assert 0 < failures < len(damage.files)


def test_options_that_do_not_go_together(lazypull: Lazypull, workspace: Workspace) -> None:
    """Refused with the option's name, before anything is read."""
    image = f"oci:{workspace / 'none'}:image"
    for arguments, words in (
        (("--merge-index", image, image), "--merge-index"),
        (("--index-dir", "x", image, image), "--index-dir"),
        (("--format", "zran", "--build-cache", image, image), "--build-cache"),
        (("--format", "zran", "--index-dir", "x", image, image), "--index-dir"),
        (("--format", "zran", image, "oci-archive:x"), "archive"),
        ((image,), "TARGET"),
    ):
        lazypull.run("convert", *arguments).assert_refused(words, codes=[EXIT_USAGE])
