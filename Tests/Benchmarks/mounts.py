# SPDX-License-Identifier: Apache-2.0
"""What an image can be mounted by, and what is read of it: for the rows about mounts."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import judges
import kernel
from measuring import Sample, View, measure

# Reads of 4 KiB at places that a fixed seed gives: file, count and threads are arguments.
RANDOM_READS = """
import os, random, sys, threading
path, count, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def work(seed):
    chance = random.Random(seed)
    opened = os.open(path, os.O_RDONLY)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_RANDOM)
    pages = os.fstat(opened).st_size // 4096
    for _ in range(count // threads):
        os.pread(opened, 4096, chance.randrange(pages) * 4096)
readers = [threading.Thread(target=work, args=[seed]) for seed in range(threads)]
[reader.start() for reader in readers]
[reader.join() for reader in readers]
"""

# One byte of each of so many pages of a mapped file.
MAPPED_FAULTS = """
import mmap, os, random, sys
opened = open(sys.argv[1], "rb")
pages = os.fstat(opened.fileno()).st_size // 4096
mapped = mmap.mmap(opened.fileno(), 0, prot=mmap.PROT_READ)
chance = random.Random(1)
for _ in range(int(sys.argv[2])):
    mapped[chance.randrange(pages) * 4096]
"""

RANDOM_COUNT = 20_000
FAULT_COUNT = 2_000
SMALL_FILES = 10_000


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
        words = [sys.executable, "-c", RANDOM_READS, largest_file(bench), str(RANDOM_COUNT)]
        return measure([*words, str(threads)], view)

    return task


def fault_at_random(bench, view: View) -> Sample:
    """Pages of the largest file, mapped."""
    words = [sys.executable, "-c", MAPPED_FAULTS, largest_file(bench), str(FAULT_COUNT)]
    return measure(words, view)


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


def largest_file(bench) -> str:
    """The largest file of the image, by its path in it."""
    paths = [Path(os.fsdecode(name)) for name in bench.big_files.read_bytes().split(b"\0") if name]
    return str(max(paths, key=lambda path: (bench.plain / path).lstat().st_size))
