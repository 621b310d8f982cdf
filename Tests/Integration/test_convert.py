# SPDX-License-Identifier: Apache-2.0
"""convert: the same bytes every time, for everyone, and never half an image."""

from __future__ import annotations

import gzip
import hashlib
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import judges
import oci
import scenarios
import tree
from commands import EXIT_CORRUPT, EXIT_DONE, EXIT_USAGE, Lazypull, short
from generator import random_stack
from layers import MEBIBYTE, Stack
from rafs import ConvertedImage
from tarball import Kind
from workspace import LIMIT, Workspace, wait_until

ORDINARY_USER = 1000


@pytest.fixture
def source(workspace: Workspace) -> oci.Layout:
    """A layout with a random stack under the tag `source`."""
    layout = oci.Layout.create(workspace / "source")
    random_stack(1).write(layout, "source")
    return layout


def fresh(workspace: Workspace, name: str) -> oci.Layout:
    """A target layout that does not exist yet."""
    return oci.Layout(workspace / name)


def test_same_input_same_bytes(
    source: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Neither the run nor the number of threads shows in the result."""
    digests = {
        lazypull.convert(
            source.reference("source"), fresh(workspace, f"target{number}"), "lazy", *options
        ).digest
        for number, options in enumerate(
            [[], [], ["--threads", "1"], ["--threads", "2"], ["--threads", "7"]]
        )
    }
    assert len(digests) == 1


# A mount namespace without /dev/fuse, and a user without any capability or the way to get one.
UNPRIVILEGED = [
    "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh",
    "setpriv", "--reuid", str(ORDINARY_USER), "--regid", str(ORDINARY_USER), "--clear-groups",
    "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--",
]  # fmt: skip


def test_ordinary_user(source: oci.Layout, lazypull: Lazypull, workspace: Workspace) -> None:
    """Without root, capabilities and FUSE, every kind of file is converted and checked."""
    expected = lazypull.convert(source.reference("source"), fresh(workspace, "roots"), "lazy")
    home = workspace.directory("home")
    shutil.chown(home, ORDINARY_USER, ORDINARY_USER)
    where = {"cwd": home, "env": {"HOME": str(home), "PATH": "/usr/bin:/bin"}}
    state = subprocess.run(
        [*UNPRIVILEGED, "sh", "-c", "cat /proc/self/status; id -u; ls /dev"],
        check=True, capture_output=True, text=True, **where,
    ).stdout  # fmt: skip
    capabilities = re.findall(r"^Cap(\w+):\t(\w+)$", state, re.MULTILINE)
    assert {name for name, _ in capabilities} >= {"Inh", "Prm", "Eff", "Bnd", "Amb"}
    assert {value for _, value in capabilities} == {"0" * 16}
    # The user, and not one device.
    assert state.endswith(f"\n{ORDINARY_USER}\n")
    # The build directory may be closed to others.
    program = Lazypull(Path(shutil.copy(lazypull.binary, home)), workspace)
    target = oci.Layout(home / "target")
    original, lazy = source.reference("source"), target.reference("lazy")
    for arguments in (["convert", original, lazy], ["check", lazy, "--against", original]):
        program.run(*arguments, prefix=UNPRIVILEGED, **where).assert_done()
    assert ConvertedImage(target, "lazy").digest == expected.digest


def test_json_output(source: oci.Layout, lazypull: Lazypull, workspace: Workspace) -> None:
    """With --output json, standard output is one document, and --quiet says nothing else."""
    target = fresh(workspace, "target")
    result = lazypull.run(
        "convert", "--output", "json", "--quiet",
        source.reference("source"), target.reference("lazy"),
    ).assert_done()  # fmt: skip
    assert result.errors == ""
    assert ConvertedImage(target, "lazy").digest in str(result.document())


def test_target_beside_source(source: oci.Layout, lazypull: Lazypull) -> None:
    """Source and target may share a layout; the other tags stay, and a tag can be replaced."""
    before = source.tags()["source"]
    first = lazypull.convert(source.reference("source"), source, "lazy")
    scenarios.hard_links().write(source, "other")
    second = lazypull.convert(source.reference("other"), source, "lazy")
    assert first.digest != second.digest
    assert source.tags()["source"] == before
    assert source.tags().keys() == {"source", "other", "lazy"}


@pytest.mark.parametrize(
    "arguments",
    [[], ["oci:x"], ["a", "b", "c"], ["--no-such-option", "oci:x", "oci:y"],
     ["--threads", "many", "oci:x", "oci:y"], ["--output", "xml", "oci:x", "oci:y"]],
)  # fmt: skip
def test_usage_errors(arguments: list[str], lazypull: Lazypull) -> None:
    """What cannot be meant is refused before anything is read."""
    lazypull.run("convert", *arguments).assert_refused(codes=[EXIT_USAGE])


# Sources that are not what they say


def convert_bad(lazypull: Lazypull, layout: oci.Layout, *naming: str) -> None:
    """The conversion fails with a message that names the culprit, and leaves no target."""
    target = lazypull.workspace / "refused"
    result = lazypull.run("convert", "--quiet", layout.reference("source"), f"oci:{target}:lazy")
    result.assert_refused(*naming)
    assert_no_image(target, "lazy")


def assert_no_image(target: Path, tag: str) -> None:
    """No tag that could be used, and no blob whose bytes are not what its name says."""
    if (target / "index.json").exists():
        assert tag not in oci.Layout(target).tags()
    for blob in (target / "blobs" / "sha256").glob("*"):
        if len(blob.name) == 64:
            assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name


def test_missing_image(lazypull: Lazypull, source: oci.Layout, workspace: Workspace) -> None:
    """A tag or a layout that is not there is named."""
    for reference, name in (
        (source.reference("absent"), "absent"),
        (f"oci:{workspace / 'nowhere'}:x", "nowhere"),
    ):
        lazypull.run("convert", reference, f"oci:{workspace / 't'}:lazy").assert_refused(name)


@pytest.mark.parametrize("victim", ["manifest", "config", "first layer", "last layer"])
@pytest.mark.parametrize("injury", ["flipped", "truncated", "missing"])
def test_damaged_source(
    victim: str, injury: str, source: oci.Layout, lazypull: Lazypull
) -> None:
    """Bytes that differ from their digest are found, whichever blob they are in."""
    manifest = source.manifest("source")
    digest = {
        "manifest": source.tags()["source"]["digest"],
        "config": manifest["config"]["digest"],
        "first layer": manifest["layers"][0]["digest"],
        "last layer": manifest["layers"][-1]["digest"],
    }[victim]
    path = source.blob_path(digest)
    data = path.read_bytes()
    match injury:
        case "flipped":
            middle = len(data) // 2
            path.write_bytes(data[:middle] + bytes([data[middle] ^ 0x10]) + data[middle + 1 :])
        case "truncated":
            path.write_bytes(data[: len(data) // 2])
        case "missing":
            path.unlink()
    convert_bad(lazypull, source, short(digest))


def test_wrong_diff_id(workspace: Workspace, lazypull: Lazypull) -> None:
    """A layer whose tar is not the one that the configuration names."""
    layout = oci.Layout.create(workspace / "source")
    (tar,) = Stack([[scenarios.file(b"f")]]).tars()
    layer = layout.put(gzip.compress(tar), oci.OCI.layer_type(oci.Compression.GZIP))
    promised = oci.sha256(b"another tar")
    layout.put_image("source", oci.image_config([promised]), [layer])
    convert_bad(lazypull, layout, short(promised))


@pytest.mark.parametrize("compression", [way for way in oci.Compression])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_layer_with_right_digest(
    compression: oci.Compression, kept: float, workspace: Workspace, lazypull: Lazypull
) -> None:
    """A stream that stops early is an error also when its blob is as long as it says."""
    layout = oci.Layout.create(workspace / "source")
    content = random.Random(4).randbytes(300_000)
    (tar,) = Stack([[scenarios.file(b"f", content)]]).tars()
    stored = compression.apply(tar)
    layer = layout.put(stored[: int(len(stored) * kept)], oci.OCI.layer_type(compression))
    layout.put_image("source", oci.image_config([oci.sha256(tar)]), [layer])
    convert_bad(lazypull, layout, short(layer["digest"]))


@pytest.mark.parametrize("size", [1, 511, 513, 10_000])
def test_layer_that_is_no_tar(size: int, workspace: Workspace, lazypull: Lazypull) -> None:
    """Noise with all digests right."""
    layout = oci.Layout.create(workspace / "source")
    noise = random.Random(size).randbytes(size)
    layout.put_tars("source", [noise])
    convert_bad(lazypull, layout, short(layout.manifest("source")["layers"][0]["digest"]))


@pytest.mark.parametrize("path", [b"../escape", b"a/../../escape", b"d/../f"])
def test_paths_do_not_leave_the_image(
    path: bytes, workspace: Workspace, lazypull: Lazypull
) -> None:
    """`..` in a path is refused, or means what it means in a chroot."""
    stack = Stack([[scenarios.file(path, b"where am I?")]])
    layout = oci.Layout.create(workspace / "source")
    stack.write(layout, "source")
    result = lazypull.run("convert", layout.reference("source"), layout.reference("lazy"))
    if result.code != EXIT_DONE:
        result.assert_refused(path.decode())
        return
    with lazypull.mount(layout.reference("lazy"), workspace / "cache") as mounted:
        tree.assert_same(judges.umoci_stack(stack, workspace), tree.read(mounted.path))


@pytest.mark.parametrize("scenario", scenarios.REFUSED, ids=lambda scenario: scenario.__name__)
def test_hard_link_that_leads_nowhere(
    scenario: Callable[[], Stack], workspace: Workspace, lazypull: Lazypull
) -> None:
    """A hard link needs its first name in the same layer, before it."""
    layout = oci.Layout.create(workspace / "source")
    stack = scenario()
    stack.write(layout, "source")
    (link,) = [entry for entry in stack.layers[-1] if entry.kind is Kind.HARD_LINK]
    layer = layout.manifest("source")["layers"][-1]["digest"]
    result = lazypull.run("convert", layout.reference("source"), layout.reference("lazy"))
    names = (short(layer), link.path.decode(), link.target.decode())
    result.assert_refused(*names, codes=[EXIT_CORRUPT])
    assert_no_image(layout.path, "lazy")


# Interruptions


@pytest.fixture(scope="module")
def long_source(module_workspace: Workspace) -> oci.Layout:
    """An image that takes long enough to be interrupted: 96 MiB in three layers."""
    layout = oci.Layout.create(module_workspace / "long")
    choices = random.Random(5)
    Stack([
        [scenarios.file(b"%d-%d" % (layer, number), choices.randbytes(4 * MEBIBYTE))
         for number in range(8)]
        for layer in range(3)
    ]).write(layout, "source")  # fmt: skip
    return layout


@pytest.fixture(scope="module")
def whole(long_source: oci.Layout, module_workspace: Workspace, binary: Path) -> ConvertedImage:
    """The long source's conversion when nothing comes between."""
    lazypull = Lazypull(binary, module_workspace)
    return lazypull.convert(
        long_source.reference("source"), oci.Layout(module_workspace / "whole"), "lazy"
    )


@pytest.mark.parametrize("signalled", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("progress", [0.0, 0.1, 0.4, 0.8])
def test_interrupted(
    signalled: signal.Signals,
    progress: float,
    long_source: oci.Layout,
    whole: ConvertedImage,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """Stopped at any point, no image is there; the next run is as good as a first one."""
    target = workspace / "target"
    goal = progress * disk_usage(whole.layout.path)
    process = lazypull.start(
        "convert", "--quiet", long_source.reference("source"), f"oci:{target}:lazy"
    )
    wait_until(
        lambda: process.poll() is not None or disk_usage(target) >= goal,
        "the conversion to get on",
    )
    process.send_signal(signalled)
    process.communicate(timeout=LIMIT)
    assert process.returncode != 0, "the conversion was over before it was interrupted"
    assert_no_image(target, "lazy")
    again = lazypull.convert(long_source.reference("source"), oci.Layout(target), "lazy")
    assert again.digest == whole.digest
    # The rest of the interrupted run is not left to fill the disk.
    assert blob_names(target) == blob_names(whole.layout.path)


def blob_names(layout: Path) -> set[str]:
    """All files of a layout, temporary ones included."""
    return {str(path.relative_to(layout)) for path in layout.rglob("*") if path.is_file()}


def disk_usage(directory: Path) -> int:
    """Bytes written so far below a directory that changes meanwhile."""
    if not directory.exists():
        return 0
    listing = subprocess.run(
        ["du", "--summarize", "--block-size=1", directory], capture_output=True, text=True
    )
    return int(listing.stdout.split()[0])
