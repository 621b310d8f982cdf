# SPDX-License-Identifier: Apache-2.0
"""mount: its life from the first answer to the last, and how it dies."""

from __future__ import annotations

import errno
import os
import random
import signal
import stat
import threading
from pathlib import Path

import pytest

import kernel
import oci
import tree
from commands import EXIT_USAGE, Lazypull, Mounted
from layers import MEBIBYTE, Stack
from rafs import ConvertedImage
from scenarios import directory, file
from workspace import LIMIT, Workspace, wait_until

FILES = 24


@pytest.fixture(scope="module")
def image(binary: Path, module_workspace: Workspace) -> ConvertedImage:
    """Two layers with enough data to be interrupted in."""
    layout = oci.Layout.create(module_workspace / "layout")
    Stack([
        [directory(b"d"), *(file(b"d/%d" % n, content(n)) for n in range(FILES))],
        [file(b"upper", b"upper" * 100_000)],
    ]).write(layout, "source")  # fmt: skip
    lazypull = Lazypull(binary, module_workspace)
    return lazypull.convert(layout.reference("source"), layout, "lazy")


@pytest.fixture(scope="module")
def expected(image: ConvertedImage, binary: Path, module_workspace: Workspace) -> tree.Tree:
    """The tree; that it is the right one is what test_trees.py says."""
    lazypull = Lazypull(binary, module_workspace)
    with lazypull.mount(image.reference, module_workspace / "cache") as mounted:
        return tree.read(mounted.path)


def content(number: int) -> bytes:
    """Half noise, half text: chunks of which some compress."""
    noise = random.Random(number).randbytes(MEBIBYTE // 2)
    return noise + b"%d " % number * (MEBIBYTE // 4) + noise


# The cache


def test_second_mount_fetches_nothing(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The first mount fetches each chunk once; the next one on its cache, none."""
    cache = workspace / "cache"
    with lazypull.mount(image.reference, cache) as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
        tree.assert_same(expected, tree.read(mounted.path))
        first = mounted.unmount()
    assert first["fetched-bytes"] == first["image-bytes"] > 0
    with lazypull.mount(image.reference, cache) as mounted:
        tree.assert_same(expected, tree.read(mounted.path))
        second = mounted.unmount()
    assert second["reads"] > 0
    assert (second["fetches"], second["fetched-bytes"]) == (0, 0)


def test_mounting_and_walking_fetch_nothing(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Metadata is all in the bootstrap."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        for directory_, _, names in os.walk(mounted.path):
            for name in names:
                os.lstat(os.path.join(directory_, name))
        assert mounted.statistics()["fetched-bytes"] == 0


def test_one_file_costs_one_file(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A read fetches what it needs and perhaps its neighbours, far from the whole image."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        (mounted.path / "upper").read_bytes()
        statistics = mounted.statistics()
    assert 0 < statistics["fetched-bytes"] < statistics["image-bytes"] / 2


def test_many_readers_share_one_fetch(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Sixteen readers of the same cold files get right bytes, and cost one fetch a chunk."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        paths = sorted((mounted.path / "d").iterdir())
        seen: list[tuple[str, ...]] = []
        barrier = threading.Barrier(16)

        def read_all() -> None:
            barrier.wait(LIMIT)
            seen.append(tuple(tree.file_digest(path) for path in paths))

        run_together([read_all] * 16)
        # The upper layer's file completes the image.
        tree.file_digest(mounted.path / "upper")
        statistics = mounted.unmount()
    assert len(seen) == 16 and len(set(seen)) == 1
    assert statistics["fetched-bytes"] == statistics["image-bytes"]


def test_one_cache_has_one_owner(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A second process on the cache is told whose it is not, and disturbs nobody."""
    cache = workspace / "cache"
    with lazypull.mount(image.reference, cache) as first:
        second = lazypull.try_mount(image.reference, cache)
        assert not isinstance(second, Mounted), "two processes share a cache directory"
        second.assert_refused(str(cache))
        assert not kernel.is_mounted(workspace / "mount2")
        tree.assert_same(expected, tree.read(first.path))
    # The lock is gone with its owner.
    with lazypull.mount(image.reference, cache) as third:
        tree.assert_same(expected, tree.read(third.path))


# Death


def test_killed_during_parallel_read(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """After kill -9, the next mount clears the stale one, and every byte is right."""
    cache, target = workspace / "cache", workspace.directory("target")
    for files_before_death in (0, 3, 9):
        mounted = lazypull.mount(image.reference, cache, target)
        read_until_killed(mounted, files_before_death)
        with pytest.raises(OSError) as failure:
            os.statvfs(target)
        assert failure.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
    with lazypull.mount(image.reference, cache, target) as mounted:
        assert len(kernel.mounts_below(target)) == 1, "stale mounts are left below the new one"
        tree.assert_same(expected, tree.read(mounted.path))
    assert not kernel.is_mounted(target)


def read_until_killed(mounted: Mounted, files_before_death: int) -> None:
    """Four readers; the process dies when they have read so many files, and is in the next."""
    done = threading.Semaphore(0)
    paths = [mounted.path / "d" / str(number) for number in range(FILES)]

    def read_share(offset: int) -> None:
        for path in paths[offset::4]:
            try:
                path.read_bytes()
            except OSError:
                return
            done.release()

    readers = [threading.Thread(target=read_share, args=[offset]) for offset in range(4)]
    for reader in readers:
        reader.start()
    for _ in range(files_before_death):
        assert done.acquire(timeout=LIMIT)
    mounted.kill()
    for reader in readers:
        reader.join(LIMIT)
        assert not reader.is_alive(), "a reader hangs after the death of the mount"


def test_live_mount_is_not_cleared(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Where something lives already, a second mount is refused, not laid over it."""
    with lazypull.mount(image.reference, workspace / "cache1") as mounted:
        result = lazypull.run(
            "mount", "--cache-dir", workspace / "cache2", image.reference, mounted.path
        )
        result.assert_refused(str(mounted.path))
        assert len(kernel.mounts_below(mounted.path)) == 1


@pytest.mark.parametrize("ending", ["umount", "SIGTERM", "SIGINT"])
def test_clean_end(
    ending: str, image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The process ends with 0 and its last statistics; neither it nor the mount is left."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        (mounted.path / "upper").read_bytes()
        if ending == "umount":
            statistics = mounted.unmount()
        else:
            statistics = mounted.end(signal.Signals[ending])
    assert statistics["fetched-bytes"] > 0
    assert kernel.mounts_below(workspace.path) == []
    assert workspace.processes() == []


def test_busy_mount_refuses_umount(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """umount says EBUSY while a file is open, and the mount goes on as if nothing was."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        with open(mounted.path / "upper", "rb") as held:
            with pytest.raises(OSError) as failure:
                kernel.unmount(mounted.path)
            assert failure.value.errno == errno.EBUSY
            assert held.read() == b"upper" * 100_000
            assert (mounted.path / "d" / "0").stat().st_size > 0


def test_terminated_while_busy(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """SIGTERM takes the mount away also under an open file, which gives right bytes or an error."""
    mounted = lazypull.mount(image.reference, workspace / "cache")
    with open(mounted.path / "upper", "rb", buffering=0) as held:
        mounted.process.terminate()
        wait_until(lambda: not kernel.is_mounted(mounted.path), "the mount to go")
        try:
            assert held.read(5000) == b"upper" * 1000
        except OSError as error:
            assert error.errno in (errno.EIO, errno.ENOTCONN, errno.ECONNABORTED)
    assert mounted.process.wait(LIMIT) == 0


# Daemons


def test_daemon_answers_when_mount_returns(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Without --foreground the call returns with the mount in place, and keeps no pipe open."""
    target = workspace.directory("target")
    lazypull.run(
        "mount", "--cache-dir", workspace / "cache", "--log-file", workspace / "log",
        image.reference, target,
    ).assert_done()  # fmt: skip
    # First of all the bytes: nothing here waits for the mount.
    tree.assert_same(expected, tree.read(target))
    (process,) = workspace.processes()
    assert os.getsid(process) != os.getsid(0), "the daemon belongs to our session"
    assert Path(f"/proc/{process}/cwd").resolve() == Path("/")
    kernel.unmount(target)
    wait_until(lambda: not workspace.processes(), "the daemon to end")
    assert kernel.mounts_below(workspace.path) == []


def test_daemon_ends_on_sigterm(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """kill is enough to get rid of a daemon and its mount."""
    target = workspace.directory("target")
    lazypull.run(
        "mount", "--cache-dir", workspace / "cache", "--log-file", workspace / "log",
        image.reference, target,
    ).assert_done()  # fmt: skip
    (process,) = workspace.processes()
    os.kill(process, signal.SIGTERM)
    wait_until(lambda: not workspace.processes(), "the daemon to end")
    assert kernel.mounts_below(workspace.path) == []
    assert "statistics" in (workspace / "log").read_text()


def test_daemon_reports_what_went_wrong(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """An error after the fork still reaches the caller's terminal and exit code."""
    for reference, target, name in (
        (image.layout.reference("absent"), workspace.directory("target"), "absent"),
        (image.reference, workspace / "no-such-directory", "no-such-directory"),
    ):
        lazypull.run(
            "mount", "--cache-dir", workspace / "cache", reference, target
        ).assert_refused(name)
    assert workspace.processes() == []
    assert kernel.mounts_below(workspace.path) == []


# What the kernel sees


def test_mount_is_read_only(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Nothing can be made, changed or removed, by root either."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        upper = mounted.path / "upper"
        for attempt in (
            lambda: (mounted.path / "new").mkdir(),
            lambda: upper.open("ab"),
            upper.unlink,
            lambda: upper.chmod(0o777),
            lambda: os.setxattr(upper, "user.x", b"x"),
        ):
            with pytest.raises(OSError) as failure:
                attempt()
            assert failure.value.errno == errno.EROFS


def test_permissions_hold_for_others(
    lazypull: Lazypull, workspace: Workspace
) -> None:
    """Other users may enter, and the kernel enforces modes for them."""
    layout = oci.Layout.create(workspace / "layout")
    Stack([
        [file(b"public", b"for all"), file(b"private", b"for root", mode=0o600)]
    ]).write(layout, "source")  # fmt: skip
    image = lazypull.convert(layout.reference("source"), layout, "lazy")
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        user = ["setpriv", "--reuid", "1000", "--regid", "1000", "--clear-groups", "cat"]
        for name, code in (("public", 0), ("private", 1)):
            process = workspace.start([*user, mounted.path / name])
            assert process.wait(LIMIT) == code


def test_statfs_and_readdir(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """statfs counts something, names can be 255 bytes, and `..` leads out of the mount."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        statistics = os.statvfs(mounted.path)
        assert statistics.f_namemax == 255
        assert statistics.f_bfree == 0
        assert statistics.f_blocks * statistics.f_frsize >= FILES * MEBIBYTE
        assert os.path.samefile(mounted.path / "d" / "..", mounted.path)
        assert os.path.samefile(mounted.path / "..", workspace.path)
        assert stat.S_ISDIR((mounted.path / "d").stat().st_mode)


@pytest.mark.parametrize("arguments", [[], ["oci:x"], ["--no-such-option", "oci:x", "/mnt"]])
def test_usage_errors(arguments: list[str], lazypull: Lazypull) -> None:
    """What cannot be meant is refused before anything is read."""
    lazypull.run("mount", *arguments).assert_refused(codes=[EXIT_USAGE])


def run_together(actions: list) -> None:
    """Runs each action in a thread of its own, to the end of all."""
    threads = [threading.Thread(target=action) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "a reader hangs"
