# SPDX-License-Identifier: Apache-2.0
"""The fault matrix: what can go wrong with a registry, at each object that is had from it."""

from __future__ import annotations

import errno
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

import oci
from commands import EXIT_CORRUPT, EXIT_INPUT_OUTPUT, Lazypull, Mounted, Result
from gateway import FAULTS, UPLOADS, Gateway
from registries import Stored, store
from services import Registry
from workspace import open_workspace

KINDS = [*FAULTS, "slow"]
FILE = 3
ALWAYS = 1_000_000
# Seconds: what reads of the mounts may take, and how much later they may end on a busy machine.
DEADLINE = 4
MARGIN = 8
# Cells at a time; most of them wait.
PARALLEL = 14


class Wrong(Exception):
    """What a cell must never come to."""


@dataclass(frozen=True)
class Cell:
    """A fault at an object: for a while, so that patience helps, or for good."""

    kind: str
    object: str
    is_lasting: bool


@dataclass(frozen=True)
class Place:
    """Where a cell is tried."""

    cell: Cell
    stored: Stored
    gateway: Gateway
    lazypull: Lazypull

    @property
    def name(self) -> str:
        """The image through the gateway, by digest."""
        return f"{self.gateway.address}/app@{self.stored.image.digest}"

    def mount(self) -> Mounted | Result:
        """The image mounted, or why not."""
        options = ["--read-ahead=0"]
        if self.cell.is_lasting:
            options.append(f"--read-deadline={DEADLINE}")
        return self.lazypull.try_mount(
            self.name, self.lazypull.workspace / "cache", None, *options
        )


def read_document(place: Place, digest: str) -> str:
    """A mount that needs the faulty object before it stands."""
    mounted = place.mount()
    if isinstance(mounted, Result):
        return assert_refused(place, mounted, digest)
    with mounted:
        if (mounted.path / f"d/{FILE}").read_bytes() != place.stored.content(FILE):
            raise Wrong("wrong bytes")
    return "right"


def read_manifest(place: Place) -> str:
    return read_document(place, place.stored.image.digest)


def read_bootstrap(place: Place) -> str:
    return read_document(place, place.stored.image.bootstrap_layer["digest"])


def read_range(place: Place) -> str:
    """A read of a file, from a mount that stands."""
    with place.mount() as mounted:
        start = time.monotonic()
        try:
            content = (mounted.path / f"d/{FILE}").read_bytes()
        except OSError as error:
            if error.errno != errno.EIO:
                raise Wrong(f"{error}") from error
            seconds = time.monotonic() - start
            if seconds > DEADLINE + MARGIN / 2:
                raise Wrong(f"EIO after {seconds:.1f} s") from error
            assert_logged(place, mounted)
            return "EIO"
        if content != place.stored.content(FILE):
            raise Wrong("wrong bytes")
        if errors := error_lines(mounted):
            raise Wrong(f"right bytes, and errors: {errors}")
    return "right"


def push(place: Place) -> str:
    """An upload of the whole image."""
    # Of its own: a registry that has a blob is not sent it again.
    repository = f"{place.cell.kind}-{'lasting' if place.cell.is_lasting else 'once'}"
    target = f"{place.gateway.address}/pushed/{repository}:tag"
    image = place.stored.image
    options = [f"--registry-deadline={DEADLINE}"] if place.cell.is_lasting else []
    start = time.monotonic()
    result = place.lazypull.run("push", "--quiet", *options, image.reference, target)
    seconds = time.monotonic() - start
    if options and seconds > DEADLINE + MARGIN:
        raise Wrong(f"ended after {seconds:.1f} s")
    if result.code != 0:
        return assert_refused(place, result, None)
    back = oci.Layout(place.lazypull.workspace / "back")
    name = f"docker://{place.stored.registry.address}/pushed/{repository}:tag"
    place.lazypull.run("push", "--quiet", name, back.reference("tag")).assert_done()
    for layer in [*image.manifest["layers"], image.manifest["config"]]:
        if back.blob(layer["digest"]) != image.layout.blob(layer["digest"]):
            raise Wrong("other bytes arrived")
    return "right"


def assert_refused(place: Place, result: Result, digest: str | None) -> str:
    """One line that says what, where and why, and a code that fits; what the table says of it."""
    lines = result.errors.strip().splitlines()
    named = [place.gateway.address, "/app" if digest else "/pushed", digest or "sha256:"]
    missing = [word for word in named if word not in result.errors]
    if len(lines) != 1 or missing or result.code not in (EXIT_CORRUPT, EXIT_INPUT_OUTPUT):
        raise Wrong(f"code {result.code}, {missing} missing in {result.errors}")
    return f"exit {result.code}"


def error_lines(mounted: Mounted) -> list[str]:
    return [line for line in mounted.log_lines() if re.search(r"\berror\b", line)]


def assert_logged(place: Place, mounted: Mounted) -> None:
    """One line that says what, where and why."""
    lines = error_lines(mounted)
    named = [place.gateway.address, "app", place.stored.blob, "cause="]
    if len(lines) != 1 or [word for word in named if word not in lines[0]]:
        raise Wrong("log: " + "\n".join(lines))


OBJECTS: dict[str, Callable[[Place], str]] = {
    "manifest": read_manifest,
    "bootstrap": read_bootstrap,
    "blob range": read_range,
    "upload": push,
}


def set_fault(cell: Cell, stored: Stored, gateway: Gateway) -> None:
    """Lets go wrong what the cell says."""
    paths = {
        "manifest": f"/manifests/{stored.image.digest}",
        "bootstrap": f"/blobs/{stored.image.bootstrap_layer['digest']}",
        "blob range": f"/blobs/{stored.blob}",
        "upload": "/blobs/uploads/",
    }
    # A stall ends with our patience, not with the server's.
    gateway.behaviour.stall = 1000
    if cell.is_lasting and cell.object == "blob range":
        gateway.behaviour.slow = 1000
    times = ALWAYS if cell.is_lasting else 1 if cell.kind in ("stall", "corrupt") else 2
    for method in UPLOADS if cell.object == "upload" else ("GET",):
        if (cell.kind, method) == ("stall", "PUT"):
            # A registry may be silent about what it puts in its place until the deadline.
            continue
        gateway.fault(cell.kind, method, paths[cell.object], times)


def attempt(cell: Cell, stored: Stored, binary: Path) -> str:
    """What became of it, for the table."""
    with Gateway(stored.registry.address) as gateway, open_workspace() as workspace:
        set_fault(cell, stored, gateway)
        start = time.monotonic()
        try:
            outcome = OBJECTS[cell.object](
                Place(cell, stored, gateway, Lazypull(binary, workspace))
            )
        except (Wrong, AssertionError, subprocess.TimeoutExpired) as error:
            outcome = f"WRONG: {error}"
        return f"{outcome} {time.monotonic() - start:.1f} s"


def table(outcomes: dict[Cell, str]) -> list[str]:
    """The matrix as people read it."""
    width = 28
    lines = ["".join(f"{word:<{width}}" for word in ["fault", *OBJECTS])]
    for kind in KINDS:
        words = [kind]
        for object in OBJECTS:
            cells = [outcomes[Cell(kind, object, is_lasting)] for is_lasting in (False, True)]
            words.append(" | ".join(text.split(":")[0] for text in cells))
        lines.append("".join(f"{word:<{width}}" for word in words))
    return [*lines, "for a while | for good"]


@pytest.mark.limit(150)
def test_fault_matrix(lazypull: Lazypull, binary: Path, tables: dict[str, list[str]]) -> None:
    """Every fault at every object: right bytes, or past the deadline one line with the cause."""
    stored = store(lazypull, Registry(lazypull.workspace), 6, 150_000)
    cells = [Cell(kind, object, is_lasting) for kind in KINDS for object in OBJECTS
             for is_lasting in (False, True)]  # fmt: skip
    # Those that take longest first.
    cells.sort(key=lambda cell: (cell.kind != "stall", cell.object != "upload"))
    with ThreadPoolExecutor(PARALLEL) as pool:
        results = pool.map(lambda cell: attempt(cell, stored, binary), cells)
        outcomes = dict(zip(cells, results, strict=True))
    tables["fault matrix"] = table(outcomes)
    wrong = {cell: text for cell, text in outcomes.items() if "WRONG" in text}
    assert not wrong, "\n".join(f"{cell}: {text}" for cell, text in wrong.items())
    # Patience helps where it can: only a corrupt document stays one, whoever asks again.
    failed = [
        cell
        for cell, text in outcomes.items()
        if not (cell.is_lasting or cell.kind == "corrupt" or text.startswith("right"))
    ]
    assert not failed, failed
