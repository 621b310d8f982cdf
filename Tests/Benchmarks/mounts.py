# SPDX-License-Identifier: Apache-2.0
"""What an image can be mounted by, and what is read of it: for the rows about mounts."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import judges
import kernel
from measuring import Sample, View, measure

READERS = Path(__file__).with_name("readers.c")
# Of Debian's libfuse3-dev, which has it from the source package of the same version.
PASSTHROUGH = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")

RANDOM_COUNT = 20_000
FAULT_COUNT = 2_000
SMALL_FILES = 10_000
# What `convert` makes by default.
CHUNK_SIZE = 1 << 20


@contextmanager
def lazypull_view(bench, cache: Path) -> Iterator[View]:
    """Our mount over a cache directory."""
    target = bench.fresh("mount")
    target.mkdir()
    with bench.lazypull.mount(bench.image.reference, cache, target) as mounted:
        yield View(mounted.path, mounted.process.pid)


@contextmanager
def erofs_view(bench, _: Path) -> Iterator[View]:
    """The kernel's mount; its data is on the disk already, and has no cache to fill."""
    with judges.mounted_erofs(bench.unpacked, bench.fresh("erofs")) as mounted:
        yield View(mounted, None)


@contextmanager
def plain_view(bench, _: Path) -> Iterator[View]:
    """The tree as umoci unpacks it, on the disk's own file system."""
    yield View(bench.plain, None)


@contextmanager
def squashfs_view(bench, _: Path) -> Iterator[View]:
    """Another low-level FUSE server, over an uncompressed image of the same tree."""
    image = bench.workspace / "image.squashfs"
    if not image.exists():
        options = ["-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet"]
        subprocess.run(["mksquashfs", bench.plain, image, *options], check=True)
    target = bench.fresh("squashfs")
    target.mkdir()
    process = subprocess.Popen(["squashfuse_ll", "-f", image, target])
    try:
        while not kernel.is_mounted(target):
            time.sleep(0.01)
        yield View(target, process.pid)
    finally:
        kernel.unmount(target)
        process.wait()


def has_squashfuse() -> bool:
    """Whether the peer and what makes its images are installed."""
    return all(shutil.which(program) for program in ("squashfuse_ll", "mksquashfs"))


@contextmanager
def passthrough_view(bench, _: Path) -> Iterator[View]:
    """libfuse's own example of a low-level server, over the unpacked tree."""
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "fuse3"], check=True, text=True, stdout=subprocess.PIPE
    ).stdout.split()
    program = compiled(bench, PASSTHROUGH, ["-D_FILE_OFFSET_BITS=64", *flags])
    target = bench.fresh("passthrough")
    target.mkdir()
    options = f"source={bench.plain},cache=always,timeout=86400"
    process = subprocess.Popen(
        # It keeps a descriptor of every file that was looked up.
        ["sh", "-c", 'ulimit -n "$(ulimit -Hn)"; exec "$@"', "sh",
         program, "-f", "-o", options, target]
    )  # fmt: skip
    try:
        while not kernel.is_mounted(target):
            time.sleep(0.01)
        yield View(target, process.pid)
    finally:
        kernel.unmount(target)
        process.wait()


def passthrough_obstacle(files: int) -> str | None:
    """Why libfuse's example cannot take part; None if it can.

    `files` are as many as the row looks up.
    """
    if not PASSTHROUGH.exists():
        return f"{PASSTHROUGH} is not there: libfuse3-dev, with its documentation"
    if not shutil.which("cc") or not shutil.which("pkg-config"):
        return "no C compiler, or no pkg-config"
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and files + 100 > limit:
        return f"it needs a descriptor for each of {files} files, and may have {limit}"
    return None


def obstacle(bench, row: str, side: str) -> str | None:
    """Why a side cannot do a row of this image; None if it can."""
    if "passthrough" not in side:
        return None
    return passthrough_obstacle(bench.entries if "find" in row else 0)


def entry_count(directory: Path) -> int:
    """How many entries a tree has."""
    return sum(len(names) + len(files) for _, names, files in os.walk(directory))


def overlaid(view: Callable) -> Callable:
    """A view as containers have it: through an overlay."""

    @contextmanager
    def through(bench, cache: Path) -> Iterator[View]:
        with view(bench, cache) as lower:
            upper, work, target = (bench.fresh(part) for part in ("upper", "work", "overlay"))
            for directory in (upper, work, target):
                directory.mkdir()
            options = "index=off,xino=on,metacopy=on"
            kernel.mount_overlay(lower.path, upper, work, target, options)
            try:
                yield View(target, lower.server)
            finally:
                kernel.unmount(target)

    return through


def read_at_random(threads: int) -> Callable:
    """Pages of the largest file, in no order."""

    def task(bench, view: View) -> Sample:
        words = [readers(bench), "read", largest_file(bench), str(RANDOM_COUNT), str(threads)]
        return measure(words, view)

    return task


def fault_at_random(bench, view: View) -> Sample:
    """Pages of the largest file, mapped."""
    return measure([readers(bench), "map", largest_file(bench), str(FAULT_COUNT), "1"], view)


def readers(bench) -> Path:
    """The program that reads in no order."""
    return compiled(bench, READERS, ["-pthread"])


def compiled(bench, source: Path, options: list[str]) -> Path:
    """A C program, compiled once."""
    program = bench.workspace / source.stem
    if not program.exists():
        subprocess.run(["cc", "-O2", source, "-o", program, *options], check=True)
    return program


def read_small_files(bench, view: View) -> Sample:
    """Many small files, each opened, read and closed."""
    listing = bench.workspace / "small-files"
    if not listing.exists():
        paths = []
        for directory, _, names in os.walk(bench.plain):
            for name in names:
                path = Path(directory, name)
                if path.is_file() and not path.is_symlink() and path.stat().st_size < 64 << 10:
                    paths.append(path.relative_to(bench.plain))
        listing.write_bytes(b"".join(os.fsencode(path) + b"\0" for path in paths[:SMALL_FILES]))
    return measure(["xargs", "-0", "-a", listing, "cat", "--"], view)


def decompress_chunks(bench) -> Sample:
    """What a cold sequential read cannot do without, by zstd: the chunks' bytes to a file."""
    stored, target = bench.workspace / "chunks.zst", bench.workspace / "chunks"
    if not stored.exists():
        with open(stored, "wb") as output:
            for name in bench.big_files.read_bytes().split(b"\0")[:-1]:
                with open(os.path.join(os.fsencode(bench.plain), name), "rb") as file:
                    while chunk := file.read(CHUNK_SIZE):
                        subprocess.run(["zstd", "-qc"], input=chunk, stdout=output, check=True)
    kernel.drop_page_cache()
    sample = measure(["zstd", "-d", "-T2", "-q", "-f", stored, "-o", target])
    target.unlink()
    return sample


def largest_file(bench) -> str:
    """The largest file of the image, by its path in it."""
    paths = [Path(os.fsdecode(name)) for name in bench.big_files.read_bytes().split(b"\0") if name]
    return str(max(paths, key=lambda path: (bench.plain / path).lstat().st_size))
