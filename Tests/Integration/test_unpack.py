# SPDX-License-Identifier: Apache-2.0
"""unpack: what it refuses, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import time

import pytest

import oci
import tree
from commands import EXIT_CORRUPT, EXIT_NAMED_CAUSES, Lazypull
from damage import flipped, republish_blob
from layers import Stack
from rafs import ConvertedImage
from scenarios import directory, file, hard_link, symlink
from workspace import Workspace

LAYER = [
    directory(b"d"),
    file(b"d/file", b"content" * 10_000),
    hard_link(b"name", b"d/file"),
    symlink(b"out", b"/"),
    symlink(b"up", b"../.."),
]


@pytest.fixture
def image(lazypull: Lazypull, workspace: Workspace) -> ConvertedImage:
    """A small image, converted."""
    layout = oci.Layout.create(workspace / "layout")
    Stack([LAYER]).write(layout, "source")
    return lazypull.convert(layout.reference("source"), layout, "lazy")


def test_empty_directory_is_taken(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """An empty directory becomes the root; one made for it is the same."""
    taken = workspace.directory("taken")
    os.chown(taken, 1000, 1000)
    first = tree.read(lazypull.unpack(image.reference, taken))
    second = tree.read(lazypull.unpack(image.reference, workspace / "made"))
    tree.assert_same(first, second)


def test_what_is_there_is_left_alone(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A directory with anything in it is refused, and nothing in it changes."""
    full = workspace.directory("full")
    (full / "d").symlink_to(workspace.directory("elsewhere"))
    lazypull.run("unpack", image.reference, full).assert_refused("full")
    assert os.listdir(full) == ["d"]
    assert os.listdir(workspace / "elsewhere") == []
    # A file, or a directory in one that is missing, is no target.
    (workspace / "file").write_text("")
    for target in ("file", "missing/target"):
        lazypull.run("unpack", image.reference, workspace / target).assert_refused(target)


def test_report_as_json(image: ConvertedImage, lazypull: Lazypull, workspace: Workspace) -> None:
    """The report for programs counts names and bytes."""
    result = lazypull.run("unpack", "--output", "json", image.reference, workspace / "target")
    report = result.assert_done().document()
    assert (report["names"], report["contentSize"]) == (len(LAYER) + 1, 70_000)


def test_damaged_chunk_is_named(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """What does not have its digest is not written, and the target is called incomplete."""
    blob = image.layout.blob(image.data_layers[0]["digest"])
    damaged = republish_blob(image, "damaged", 0, flipped(blob, 100))
    target = workspace / "target"
    result = lazypull.run("unpack", damaged.reference, target)
    result.assert_refused("/d/file", f"{target} is left incomplete", codes=[EXIT_CORRUPT])


def test_interrupt_is_told(lazypull: Lazypull, workspace: Workspace) -> None:
    """Ended early, it says what it leaves behind."""
    layout = oci.Layout.create(workspace / "layout")
    content = os.urandom(1 << 20)
    Stack([[file(b"%d" % number, content + b"%d" % number) for number in range(300)]]).write(
        layout, "source"
    )
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    target = workspace / "target"
    process = lazypull.start("unpack", "--threads", "1", image.reference, target)
    while process.poll() is None and not target.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in EXIT_NAMED_CAUSES, errors
    assert "interrupted" in errors and f"{target} is left incomplete" in errors
