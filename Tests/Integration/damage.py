# SPDX-License-Identifier: Apache-2.0
"""Images broken on purpose: below the digests, or with every digest made to fit.

A flipped bit that a digest gives away says little about a parser. `republish` signs the damage,
so that it arrives where a hostile image would.
"""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import oci
from rafs import BOOTSTRAP_MEMBER, EXTENDED_OFFSET, SUPERBLOCK_OFFSET, ConvertedImage


def flipped(data: bytes, bit: int) -> bytes:
    """`data` with one bit inverted."""
    byte, shift = divmod(bit, 8)
    return data[:byte] + bytes([data[byte] ^ 1 << shift]) + data[byte + 1 :]


def flip_file(path: Path, offset: int) -> None:
    """Inverts the lowest bit of one byte of a file."""
    data = path.read_bytes()
    path.write_bytes(flipped(data, offset * 8))


def republish(image: ConvertedImage, tag: str, members: dict[str, bytes | None]) -> ConvertedImage:
    """The image with some members of its bootstrap layer replaced, or left out for None."""
    layout = image.layout
    tar = _with_members(gzip.decompress(layout.blob(image.bootstrap_layer["digest"])), members)
    stored = layout.put(gzip.compress(tar, mtime=0), image.bootstrap_layer["mediaType"])
    layers = [*image.manifest["layers"][:-1], {**image.bootstrap_layer, **stored}]
    diff_ids = [*image.config["rootfs"]["diff_ids"][:-1], oci.sha256(tar)]
    return _publish(image, tag, layers, diff_ids)


def republish_blob(
    image: ConvertedImage, tag: str, position: int, data: bytes
) -> ConvertedImage:
    """The image with the bytes of one data blob replaced, and its new name wherever it stands."""
    layout = image.layout
    layer = image.data_layers[position]
    stored = layout.put(data, layer["mediaType"])
    old, new = (oci.hexadecimal(entry["digest"]) for entry in (layer, stored))
    members: dict[str, bytes | None] = {}
    for name, content in image.bootstrap_members().items():
        members[name.replace(old, new)] = content.replace(old.encode(), new.encode())
        if old in name:
            members[name] = None
    layers = [*image.manifest["layers"]]
    layers[position] = {**layer, **stored}
    diff_ids = [*image.config["rootfs"]["diff_ids"]]
    diff_ids[position] = stored["digest"]
    renamed = _publish(image, tag, layers, diff_ids)
    return republish(renamed, tag, members)


def _publish(
    image: ConvertedImage, tag: str, layers: list[dict], diff_ids: list[str]
) -> ConvertedImage:
    layout = image.layout
    config = {**image.config, "rootfs": {**image.config["rootfs"], "diff_ids": diff_ids}}
    stored = layout.put_document(config, image.manifest["config"]["mediaType"])
    manifest = {**image.manifest, "config": stored, "layers": layers}
    media_type = layout.tags()[image.tag]["mediaType"]
    layout.set_tag(tag, layout.put_document(manifest, media_type))
    return ConvertedImage(layout, tag)


def _with_members(tar: bytes, members: dict[str, bytes | None]) -> bytes:
    rewritten = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(tar)) as source,
        tarfile.open(fileobj=rewritten, mode="w", format=tarfile.PAX_FORMAT) as target,
    ):
        pending = dict(members)
        for member in source:
            content = source.extractfile(member).read() if member.isfile() else b""
            content = pending.pop(member.name, content)
            if content is not None:
                _add(target, member, content)
        for name, content in pending.items():
            if content is not None:
                _add(target, tarfile.TarInfo(name), content)
    return rewritten.getvalue()


def _add(target: tarfile.TarFile, member: tarfile.TarInfo, content: bytes) -> None:
    member.size = len(content)
    target.addfile(member, io.BytesIO(content))


def damaged_bootstraps(boot: bytes, seed: int, flips: int) -> Iterator[tuple[str, bytes]]:
    """Truncated and bit-flipped bootstraps, each with a name that tells how to make it again."""
    for length in sorted({0, 512, 1024, 1100, 1152, 1408, 4096, len(boot) // 2, len(boot) - 4096}):
        yield f"truncated to {length}", boot[:length]
    choices = random.Random(seed)
    # Half of the flips hit the few bytes that all others hang on.
    superblocks = range(SUPERBLOCK_OFFSET * 8, (EXTENDED_OFFSET + 64) * 8)
    for number in range(flips):
        bit = choices.choice(superblocks if number % 2 else range(len(boot) * 8))
        yield f"bit {bit} flipped", flipped(boot, bit)


def bootstrap_members(boot: bytes) -> dict[str, bytes | None]:
    """What to hand to `republish` for another bootstrap."""
    return {BOOTSTRAP_MEMBER: boot}
