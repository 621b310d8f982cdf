# SPDX-License-Identifier: Apache-2.0
"""check: clean images pass, and no difference from the source goes unreported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import oci
import scenarios
from commands import EXIT_FAILED, EXIT_USAGE, Lazypull
from layers import CAP_NET_RAW, Stack, capability
from rafs import ConvertedImage
from scenarios import directory, file, hard_link, symlink
from tarball import Entry, Kind
from workspace import Workspace

VICTIM = b"d/victim"

ORIGINAL = [
    directory(b"d"),
    file(VICTIM, b"original", xattrs={"user.key": b"value"}),
    file(b"d/bystander", b"bystander"),
    symlink(b"link", b"d"),
    Entry(b"device", Kind.CHARACTER_DEVICE, device=(1, 3)),
]


def altered(path: bytes, **attributes) -> Callable[[list[Entry]], list[Entry]]:
    """The layer with some attributes of one entry changed."""
    return lambda entries: [
        replace(entry, **attributes) if entry.path == path else entry for entry in entries
    ]


# What happens to the source, and the path that check must then name.
ALTERATIONS: dict[str, tuple[str, Callable[[list[Entry]], list[Entry]]]] = {
    "content": ("d/victim", altered(VICTIM, content=b"0riginal")),
    "size": ("d/victim", altered(VICTIM, content=b"original and more")),
    "mode": ("d/victim", altered(VICTIM, mode=0o645)),
    "setuid": ("d/victim", altered(VICTIM, mode=0o4644)),
    "uid": ("d/victim", altered(VICTIM, uid=1)),
    "gid": ("d/victim", altered(VICTIM, gid=1)),
    "mtime": ("d/victim", altered(VICTIM, mtime_ns=scenarios.NOON + 1)),
    "xattr value": ("d/victim", altered(VICTIM, xattrs={"user.key": b"Value"})),
    "xattr gone": ("d/victim", altered(VICTIM, xattrs={})),
    "capability": (
        "d/victim",
        altered(
            VICTIM, xattrs={"user.key": b"value", "security.capability": capability(CAP_NET_RAW)}
        ),
    ),
    "type": ("d/victim", altered(VICTIM, kind=Kind.FIFO, content=b"", xattrs={})),
    "directory mode": ("d", altered(b"d", mode=0o700)),
    "directory mtime": ("d", altered(b"d", mtime_ns=0)),
    "link target": ("link", altered(b"link", target=b"e")),
    "device number": ("device", altered(b"device", device=(1, 5))),
    "missing": ("d/victim", lambda entries: [e for e in entries if e.path != VICTIM]),
    "additional": ("d/extra", lambda entries: [*entries, file(b"d/extra")]),
    "hard link": (
        "d/bystander",
        lambda entries: [e for e in entries if e.path != b"d/bystander"]
        + [hard_link(b"d/bystander", VICTIM)],
    ),
}


@pytest.fixture
def image(lazypull: Lazypull, workspace: Workspace) -> ConvertedImage:
    """The original, converted; its source is in the same layout."""
    layout = oci.Layout.create(workspace / "layout")
    Stack([ORIGINAL]).write(layout, "source")
    return lazypull.convert(layout.reference("source"), layout, "lazy")


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_difference_is_listed(
    alteration: str, image: ConvertedImage, lazypull: Lazypull
) -> None:
    """One altered attribute gives exit code 1 and a line with the path, and no other path."""
    path, alter = ALTERATIONS[alteration]
    Stack([alter(ORIGINAL)]).write(image.layout, "altered")
    result = lazypull.check(image.reference, "--against", image.layout.reference("altered"))
    assert result.code == EXIT_FAILED, result
    report = result.output + result.errors
    assert path in report
    # A hard link changes what is seen of both of its names.
    if alteration != "hard link":
        others = {"d/victim", "d/bystander", "d/extra", "link", "device"} - {path}
        assert not [other for other in others if other in report], report


def test_difference_as_json(image: ConvertedImage, lazypull: Lazypull) -> None:
    """The same list for programs."""
    Stack([altered(VICTIM, mode=0o600)(ORIGINAL)]).write(image.layout, "altered")
    result = lazypull.check(
        image.reference, "--against", image.layout.reference("altered"), "--output", "json"
    )
    assert result.code == EXIT_FAILED, result
    assert "d/victim" in str(result.document())


def test_quiet(image: ConvertedImage, lazypull: Lazypull) -> None:
    """--quiet leaves a clean check without a word."""
    result = lazypull.check(image.reference, "--quiet").assert_done()
    assert (result.output, result.errors) == ("", "")


def test_dump_is_canonical(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The dump names every path and is the same for the same image, wherever it lies."""
    dump = lazypull.check(image.reference, "--dump").assert_done().output
    assert dump == lazypull.check(image.reference, "--dump").assert_done().output
    for name in ("victim", "bystander", "link", "device"):
        assert name in dump
    twin = lazypull.convert(
        image.layout.reference("source"),
        oci.Layout(workspace / "elsewhere"), "other", "--threads", "1",
    )  # fmt: skip
    assert lazypull.check(twin.reference, "--dump").assert_done().output == dump


def test_dump_shows_differences(image: ConvertedImage, lazypull: Lazypull) -> None:
    """Two images that differ in one bit of one mode have different dumps."""
    Stack([altered(VICTIM, mode=0o640)(ORIGINAL)]).write(image.layout, "altered")
    other = lazypull.convert(image.layout.reference("altered"), image.layout, "other")
    dumps = {lazypull.check(one.reference, "--dump").output for one in (image, other)}
    assert len(dumps) == 2


def test_source_is_no_converted_image(image: ConvertedImage, lazypull: Lazypull) -> None:
    """An ordinary image is refused as such, not called corrupt or clean."""
    lazypull.check(image.layout.reference("source")).assert_refused()


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--no-such-option", "oci:x"]])
def test_usage_errors(arguments: list[str], lazypull: Lazypull) -> None:
    """What cannot be meant is refused before anything is read."""
    lazypull.run("check", *arguments).assert_refused(codes=[EXIT_USAGE])
