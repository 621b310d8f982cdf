# SPDX-License-Identifier: Apache-2.0
"""convert --chunk-dict: what other images have is referred to, and the result is whole."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

import pytest

import judges
import oci
import rafs
import tree
import zstd
from commands import EXIT_UNSUPPORTED, Lazypull
from layers import MEBIBYTE, Stack
from rafs import ConvertedImage
from scenarios import directory, file
from workspace import Workspace

NOISE = random.Random(5).randbytes(3 * MEBIBYTE)
OPTIONS = ["--chunk-size", "64K"]


def base() -> Stack:
    """Two layers: what later images have as well."""
    return Stack([
        [directory(b"lib"), file(b"lib/a", NOISE[:MEBIBYTE]), file(b"lib/b", b"b" * 70_000)],
        [file(b"lib/c", NOISE[MEBIBYTE : 2 * MEBIBYTE]), file(b"own", b"of the base" * 9000)],
    ])  # fmt: skip


def derived() -> Stack:
    """Files of the base in other layers and under other names, twice too, and new ones among them:
    one layer has nothing new, one nothing old, one hides what only it took from the dictionary."""
    return Stack([
        [file(b"new", NOISE[2 * MEBIBYTE :]), file(b"c", NOISE[MEBIBYTE : 2 * MEBIBYTE])],
        [file(b"all/a", NOISE[:MEBIBYTE]), file(b"all/again", NOISE[:MEBIBYTE])],
        [file(b"text", b"text" * 50_000), file(b"text2", b"text" * 50_000)],
        [file(b"mixed", NOISE[: MEBIBYTE // 2] + NOISE[-500_000:] + b"b" * 70_000)],
        [file(b".wh.c", b""), file(b"new2", b"xyz" * 30_000)],
    ])  # fmt: skip


def put(layout: oci.Layout, stack: Stack, tag: str) -> str:
    """Stores a stack and names it."""
    stack.write(layout, tag)
    return layout.reference(tag)


def blobs(image: ConvertedImage) -> list[str]:
    """The digests of an image's blobs in the order of its bootstrap."""
    return [f"sha256:{blob.identifier}" for blob in image.bootstrap().blobs]


@pytest.fixture
def dictionary(workspace: Workspace, lazypull: Lazypull) -> ConvertedImage:
    """The base, converted, in a layout of its own."""
    layout = oci.Layout.create(workspace / "base")
    return lazypull.convert(put(layout, base(), "source"), layout, "lazy", *OPTIONS)


def test_every_reader_reads_the_result(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """umoci's tree by check, mount, unpack and the kernel, with the target's own blobs alone."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    image = lazypull.convert(
        source, layout, "lazy", *OPTIONS, "--chunk-dict", dictionary.reference
    )
    # What the image needs, it has: the dictionary's layout is gone.
    dictionary.layout.path.rename(workspace / "gone")
    lazypull.check(image.reference, "--against", source).assert_done()
    expected = judges.umoci_stack(derived(), workspace)
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
    tree.assert_same(
        expected, tree.read(lazypull.unpack(image.reference, workspace / "unpacked"))
    )
    unpacked = image.unpack(workspace / "devices")
    with judges.mounted_erofs(unpacked, workspace / "erofs") as mounted_path:
        tree.assert_same(expected, tree.read(mounted_path))


def test_documents_list_what_is_needed(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """Manifest, diff_ids and history: first the dictionary's blobs, then one for each layer."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    plain = lazypull.convert(source, layout, "plain", *OPTIONS)
    arguments = [*OPTIONS, "--chunk-dict", dictionary.reference]
    target = layout.reference("lazy")
    report = lazypull.run("convert", "-o", "json", *arguments, source, target).document()
    image = ConvertedImage(layout, "lazy")
    known = blobs(dictionary)
    listed = [layer["digest"] for layer in image.data_layers]
    assert listed[:2] == known
    assert len(listed) == 2 + len(derived().layers)
    assert [blob["digest"] for blob in report["dictionaryBlobs"]] == known
    assert image.config["rootfs"]["diff_ids"][:-1] == listed
    assert len(image.config["history"]) == len(image.manifest["layers"])
    # The layer that brings nothing new has a blob without chunks; c is hidden, its blob is not.
    assert [layer["chunks"] for layer in report["layers"]] == [16, 0, 2, 9, 2]
    assert [layer["dictionaryChunks"] for layer in report["layers"]] == [16, 32, 0, 8, 0]
    assert sum(layer["dictionarySize"] for layer in report["layers"]) == 56 * 65_536
    own = sum(layer["blob"]["size"] for layer in report["layers"])
    assert own < sum(layer["size"] for layer in plain.data_layers) - 2_000_000
    again = lazypull.convert(source, layout, "again", "--threads", "1", *arguments)
    assert again.digest == image.digest


def test_inlined_bootstraps_name_the_dictionary(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """A layer's own bootstrap names the blobs that this layer needs: any prefix can be merged."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    image = lazypull.convert(
        source, layout, "lazy", *OPTIONS, "--chunk-dict", dictionary.reference
    )
    known = [oci.hexadecimal(layer["digest"]) for layer in dictionary.data_layers]
    own = "x" * 64
    named = [
        sorted(blob.identifier for blob in inlined_bootstrap(layout, layer).blobs)
        for layer in image.data_layers[2:]
    ]
    first, second = sorted([own, known[1]]), [known[0]]
    assert named == [first, second, [own], sorted([own, known[0]]), [own]]


def inlined_bootstrap(layout: oci.Layout, layer: dict) -> rafs.Bootstrap:
    """The bootstrap of a data blob, found by the blob's table of contents."""
    blob = layout.blob(layer["digest"])
    size = int(blob[-512:][124:135], 8)
    table = blob[-512 - size : -512]
    for start in range(0, size, 128):
        entry = table[start : start + 128]
        if entry[8:24].rstrip(b"\0") == b"image.boot":
            offset, stored, full = (
                int.from_bytes(entry[at : at + 8], "little") for at in (56, 64, 72)
            )
            data = blob[offset : offset + stored]
            return rafs.Bootstrap(zstd.decompress(data, full) if entry[0] == 2 else data)
    raise AssertionError("no bootstrap in the blob")


def test_several_dictionaries_and_compressors(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """The first image that has a chunk gives it; how each stores its chunks is its own affair."""
    layout = oci.Layout.create(workspace / "layout")
    second = lazypull.convert(
        put(layout, Stack([[file(b"t", b"text" * 50_000), file(b"b", b"b" * 70_000)]]), "two"),
        layout, "second", *OPTIONS, "--compressor", "none",
    )  # fmt: skip
    source = put(layout, derived(), "source")
    image = lazypull.convert(
        source, layout, "lazy", *OPTIONS, "--chunk-dict", dictionary.reference,
        "--chunk-dict", second.reference, "--chunk-dict", dictionary.reference,
    )  # fmt: skip
    assert [layer["digest"] for layer in image.data_layers][:3] == blobs(dictionary) + blobs(second)
    assert {blob.compressor for blob in image.bootstrap().blobs} == {0, 3}
    lazypull.check(image.reference, "--against", source).assert_done()
    expected = judges.umoci_stack(derived(), workspace)
    tree.assert_same(
        expected, tree.read(lazypull.unpack(image.reference, workspace / "unpacked"))
    )


def test_an_archive_gets_the_blobs_too(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """oci-archive: as the target, and the dictionary's image as a later dictionary's layer."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    target = f"oci-archive:{workspace / 'image.tar'}:lazy"
    arguments = ["convert", "-q", *OPTIONS]
    lazypull.run(
        *arguments, "--chunk-dict", dictionary.reference, source, target
    ).assert_done()
    lazypull.check(target, "--against", source).assert_done()
    # Everything is in the dictionary now, so nothing is stored again.
    report = lazypull.run(
        *arguments, "-o", "json", "--chunk-dict", target, source, layout.reference("third")
    ).document()
    assert [layer["chunks"] for layer in report["layers"]] == [16, 0, 0, 0, 0]
    lazypull.check(layout.reference("third"), "--against", source).assert_done()


def test_unfit_dictionaries_are_refused(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """Other chunks than the new image's, or no converted image: what was expected, what found."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")

    def refuse(image: str, *naming: str) -> None:
        lazypull.run(
            "convert", "--chunk-dict", image, source, layout.reference("no")
        ).assert_refused(image, *naming, codes=[EXIT_UNSUPPORTED])

    refuse(dictionary.reference, "65536 bytes, expected 1048576")
    refuse(source, "not a converted image")
    assert "no" not in layout.tags()


def test_a_dictionary_of_other_digests_is_refused(
    fixtures: Path, workspace: Workspace, lazypull: Lazypull
) -> None:
    """nydus' default, BLAKE3, names chunks in another way."""
    foreign = oci.Layout(fixtures / "foreign")
    lazypull.run(
        "convert", "--chunk-dict", foreign.reference("v6"), foreign.reference("latest"),
        oci.Layout.create(workspace / "layout").reference("no"),
    ).assert_refused("blake3, expected sha256", codes=[EXIT_UNSUPPORTED])  # fmt: skip


def test_a_damaged_dictionary_blob_is_not_copied(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """A blob that is not what its digest says ends the conversion."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    digest = dictionary.data_layers[0]["digest"]
    blob = bytearray(dictionary.layout.blob(digest))
    blob[100] ^= 1
    dictionary.layout.blob_path(digest).write_bytes(blob)
    lazypull.run(
        "convert", *OPTIONS, "--chunk-dict", dictionary.reference, source,
        layout.reference("no"),
    ).assert_refused(oci.hexadecimal(digest))  # fmt: skip
    assert "no" not in layout.tags()


def test_a_prefetch_list_goes_with_a_dictionary(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """The dictionary's chunks stay where they are; of the others the named ones come first."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    (workspace / "list").write_text("/mixed\n/all\n/new2\n")
    image = lazypull.convert(
        source, layout, "lazy", *OPTIONS, "--chunk-dict", dictionary.reference,
        "--prefetch-files", str(workspace / "list"),
    )  # fmt: skip
    lazypull.check(image.reference, "--against", source).assert_done()
    lines = lazypull.check(image.reference, "--dump").assert_done().output.splitlines()
    assert [line for line in lines if line.startswith("prefetch")] == [
        "prefetch /mixed", "prefetch /all", "prefetch /new2",
    ]  # fmt: skip


def bare(image: ConvertedImage, tag: str) -> str:
    """The image with nothing but the bootstrap in its last layer, as nydus' tools make it."""
    layout = image.layout
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        data = image.bootstrap_members()[rafs.BOOTSTRAP_MEMBER]
        member = tarfile.TarInfo(rafs.BOOTSTRAP_MEMBER)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    *diff_ids, _ = image.config["rootfs"]["diff_ids"]
    layer = layout.put(
        oci.Compression.GZIP.apply(tar.getvalue()), image.bootstrap_layer["mediaType"]
    )
    layer["annotations"] = image.bootstrap_layer["annotations"]
    config = oci.image_config([*diff_ids, oci.sha256(tar.getvalue())])
    layout.put_image(tag, config, [*image.data_layers, layer])
    return layout.reference(tag)


def test_a_dictionary_without_chunk_tables(
    dictionary: ConvertedImage, workspace: Workspace, lazypull: Lazypull
) -> None:
    """What its bootstrap layer lacks is read from its blobs; the new image is the same."""
    layout = oci.Layout.create(workspace / "layout")
    source = put(layout, derived(), "source")
    digests = {
        lazypull.convert(source, layout, "lazy", *OPTIONS, "--chunk-dict", name).digest
        for name in (dictionary.reference, bare(dictionary, "bare"))
    }
    assert len(digests) == 1
