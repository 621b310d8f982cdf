# SPDX-License-Identifier: Apache-2.0
"""What the inflate rows decode: contents as layers have them, by every compressor that makes layers."""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

# The programs that the rows need, and Debian's packages of them.
TOOLS = {"igzip": "isal", "pigz": "pigz", "go": "golang-go", "valgrind": "valgrind"}

COMPRESSORS = {
    "gzip -1": ["gzip", "-1"],
    "gzip -6": ["gzip", "-6"],
    "gzip -9": ["gzip", "-9"],
    "pigz": ["pigz", "-6"],
    "igzip -1": ["igzip", "-1"],
    "go": ["./gzip-go"],
    # igzip and gzip have no level that stores.
    "stored": ["pigz", "-0"],
}

MEBIBYTE = 1 << 20
LARGE_LIBRARY = 20 * MEBIBYTE
LIBRARY_STEP = 5
JSON_SIZE = 64 * MEBIBYTE
# Bytes of content between two counts of instructions: what starting costs is in both.
COUNTED = 4 * MEBIBYTE


@dataclass(frozen=True)
class Subject:
    """One content, compressed in one way."""

    content: str
    compressor: str

    @property
    def name(self) -> str:
        """The row's name."""
        return f"inflate {self.content} {self.compressor}"


SUBJECTS = [
    Subject(content, compressor) for content in ("libs", "debian") for compressor in COMPRESSORS
] + [Subject("json", "gzip -6")]


def missing() -> list[str]:
    """The packages that have to be installed first."""
    return [package for tool, package in TOOLS.items() if not shutil.which(tool)]


class Corpora:
    """Makes contents and gzip files when they are first asked for."""

    def __init__(self, directory: Path, layers: list[Path], base: Callable[[], Path]) -> None:
        """Libraries come from the layers, everything else from the one that `base` gives."""
        self.directory = directory
        self.layers = layers
        self.base = base
        self.benchmark = REPOSITORY / ".build" / "release" / "InflateBenchmark"

    def decoder(self) -> Path:
        """The program that decodes with our decoder or zlib's."""
        if not (self.directory / "built").exists():
            self.directory.mkdir(exist_ok=True)
            subprocess.run(
                ["swift", "build", "-c", "release", "--product", self.benchmark.name],
                cwd=REPOSITORY, check=True, stdout=sys.stderr,
            )  # fmt: skip
            (self.directory / "built").touch()
        return self.benchmark

    def stored(self, subject: Subject) -> Path:
        """The content as a gzip file."""
        content = self.content(subject.content)
        path = self.directory / subject.name.replace(" ", "_")
        if not path.exists():
            print(f"making {path.name}", file=sys.stderr)
            if subject.compressor == "go" and not (self.directory / "gzip-go").exists():
                output = self.directory / "gzip-go"
                subprocess.run(["go", "build", "-o", output, HERE / "gzip.go"], check=True)
            with open(content, "rb") as source, open(path, "wb") as target:
                subprocess.run(
                    COMPRESSORS[subject.compressor],
                    stdin=source, stdout=target, cwd=self.directory, check=True,
                )  # fmt: skip
        return path

    def content(self, name: str) -> Path:
        """The content as a file."""
        path = self.directory / name
        if not path.exists():
            self.directory.mkdir(exist_ok=True)
            pieces = {"libs": self._libs, "debian": self._debian, "json": self._json}[name]()
            with open(path, "wb") as target:
                target.writelines(pieces)
        return path

    def instructions_per_byte(self, subject: Subject) -> float:
        """What our decoder executes for a byte of content: the same in every run."""
        few, many = (self._count(subject, COUNTED * number) for number in (1, 2))
        return (many[0] - few[0]) / (many[1] - few[1])

    def _count(self, subject: Subject, limit: int) -> tuple[int, int]:
        """Instructions executed, and bytes decoded."""
        result = subprocess.run(
            [
                "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
                self.decoder(), "lazypull", self.stored(subject), str(limit),
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        collected = re.search(r"Collected : (\d+)", result.stderr)
        if not collected:
            sys.exit(f"benchmark: callgrind says no number of instructions:\n{result.stderr}")
        return int(collected[1]), int(result.stdout)

    def _debian(self) -> Iterator[bytes]:
        """The root file system, as a tar."""
        with gzip.open(self.base()) as layer:
            while block := layer.read(MEBIBYTE):
                yield block

    def _libs(self) -> Iterator[bytes]:
        """The image's shared libraries."""
        for layer in self.layers:
            with tarfile.open(layer, "r|gz") as archive:
                for member in archive:
                    if member.isreg() and re.search(r"\.so(\.|$)", member.name):
                        yield from sampled(archive.extractfile(member), member.size)

    def _json(self) -> Iterator[bytes]:
        """Records of the image's files, in an order that does not repeat itself."""
        with tarfile.open(self.base(), "r|gz") as archive:
            records = [
                {
                    "path": member.name, "size": member.size, "mode": member.mode,
                    "modified": member.mtime, "owner": [member.uid, member.gid],
                    "checksum": member.chksum, "link": member.linkname or None,
                }
                for member in archive
            ]  # fmt: skip
        order = random.Random(1)
        size = 0
        while size < JSON_SIZE:
            order.shuffle(records)
            text = json.dumps(records, indent=1).encode()
            yield text
            size += len(text)


def sampled(library: IO[bytes], size: int) -> Iterator[bytes]:
    """A small library whole, of a large one every fifth MiB: all kinds of sections, in less time."""
    number = 0
    while block := library.read(MEBIBYTE):
        if size < LARGE_LIBRARY or number % LIBRARY_STEP == 0:
            yield block
        number += 1
