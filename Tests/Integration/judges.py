# SPDX-License-Identifier: Apache-2.0
"""The other implementations that say what an image's tree is: umoci, the kernel, fsck.erofs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

import kernel
import oci
import tree
from layers import Stack
from rafs import Unpacked
from workspace import Workspace


def umoci(layout: oci.Layout, tag: str, directory: Path) -> tree.Tree:
    """The tree as umoci unpacks it into `directory`."""
    subprocess.run(
        ["umoci", "raw", "unpack", "--image", f"{layout.path}:{tag}", directory],
        check=True,
        umask=0o022,
    )
    return tree.read(directory)


def gnu_tar(archive: bytes, directory: Path) -> tree.Tree:
    """The tree as GNU tar unpacks one archive into `directory`."""
    subprocess.run(
        ["tar", "-xpf", "-", "--xattrs", "--numeric-owner", "-C", directory],
        input=archive,
        check=True,
        umask=0o022,
    )
    return tree.read(directory)


def umoci_stack(stack: Stack, workspace: Workspace) -> tree.Tree:
    """The tree of a stack: all of it by umoci's word, but for the times of directories."""
    layout = oci.Layout.create(workspace / "twin")
    stack.write_twin(layout, "twin")
    unpacked = umoci(layout, "twin", workspace / "umoci")
    for path, mtime_ns in stack.directory_mtimes().items():
        unpacked[path] = replace(unpacked[path], mtime_ns=mtime_ns)
    return unpacked


@contextmanager
def mounted_erofs(unpacked: Unpacked, target: Path) -> Iterator[Path]:
    """The kernel's own mount of bootstrap and devices, for the length of a `with` block."""
    target.mkdir()
    try:
        kernel.mount_erofs(unpacked.bootstrap, unpacked.devices, target)
    except kernel.EROFSFromFilesUnsupported:
        pytest.skip("this kernel's EROFS does not mount files (Linux 6.12 does)")
    try:
        yield target
    finally:
        kernel.unmount(target)


def fsck_extract(unpacked: Unpacked, target: Path) -> tree.Tree:
    """The tree as fsck.erofs extracts it; only its types, targets and bytes mean anything."""
    devices = [f"--device={device}" for device in unpacked.devices]
    subprocess.run(
        ["fsck.erofs", f"--extract={target}", *devices, unpacked.bootstrap],
        check=True,
        capture_output=True,
    )
    return tree.read(target)
