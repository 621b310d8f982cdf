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
from cases import FILES
from commands import EXIT_BUSY, EXIT_DONE, EXIT_USAGE, Lazypull, Mounted
from layers import MEBIBYTE, Stack
from rafs import ConvertedImage
from scenarios import file
from workspace import LIMIT, Workspace, wait_until

# Death


# However often and wherever it strikes: before the first file, in the middle, when much is there.
# With each half the page cache is kept, or dropped: 50 deaths together.
DEATHS = 25


@pytest.mark.parametrize("page_cache", ["kept", "dropped"])
def test_killed_during_parallel_read(
    page_cache: str,
    image: ConvertedImage,
    expected: tree.Tree,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """After each kill -9 every byte is right, and nothing that a bit stands for is fetched again."""
    cache, target = workspace / "cache", workspace.directory("target")
    chance = random.Random(page_cache)
    for number in range(DEATHS):
        # Without read-ahead, or the cache is full after a few.
        mounted = lazypull.mount(image.reference, cache, target, "--read-ahead", "0")
        read_until_killed(mounted, min(chance.randrange(2 + number), FILES - 1))
        with pytest.raises(OSError) as failure:
            os.statvfs(target)
        assert failure.value.errno in (errno.ENOTCONN, errno.ECONNABORTED)
        if page_cache == "dropped":
            kernel.drop_page_cache()
        # Half of the time somebody wants something else first.
        if number % 2:
            fetched = stored_bytes(image, cache)
            with lazypull.mount(image.reference, cache, target, "--read-ahead", "0") as mounted:
                (mounted.path / "upper").read_bytes()
                assert stored_bytes(image, cache) - fetched == mounted.unmount()["fetched-bytes"]
    missing = stored_bytes(image, None) - stored_bytes(image, cache)
    with lazypull.mount(image.reference, cache, target) as mounted:
        assert len(kernel.mounts_below(target)) == 1, "stale mounts are left below the new one"
        tree.assert_same(expected, tree.read(mounted.path))
        assert mounted.unmount()["fetched-bytes"] == missing
    assert not kernel.is_mounted(target)


def stored_bytes(image: ConvertedImage, cache: Path | None) -> int:
    """The stored size of the chunks that a cache's bits stand for; of all chunks without one."""
    total = 0
    for blob in image.bootstrap().blobs:
        bits = present_bits(blob.identifier, cache) if cache else None
        for index, chunk in enumerate(image.chunks(blob)):
            if bits is None or index // 8 < len(bits) and bits[index // 8] >> index % 8 & 1:
                total += chunk.compressed_size
    return total


def present_bits(blob: str, cache: Path) -> bytes:
    """A blob's runtime bits, or its durable ones where a clean end has left no others."""
    status = cache.stat()
    runtime = Path(f"/run/lazypull/{status.st_dev:x}-{status.st_ino:x}")
    name = oci.hexadecimal(blob) if ":" in blob else blob
    files = [*runtime.glob(f"{name}-*"), *cache.glob(f"blobs/{name}-*/bits")]
    return files[0].read_bytes()[4096:] if files else b""


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


def test_stale_mount_in_use(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A process that sits in the dead mount does not keep a new one from its place."""
    cache, target = workspace / "cache", workspace.directory("target")
    mounted = lazypull.mount(image.reference, cache, target)
    sitting = workspace.start(["sleep", str(LIMIT)], cwd=target / "d")
    mounted.kill()
    with lazypull.mount(image.reference, cache, target) as mounted:
        assert len(kernel.mounts_below(target)) == 1
        tree.assert_same(expected, tree.read(target))
        assert sitting.poll() is None
    sitting.kill()


@pytest.mark.parametrize("state", ["alive", "stopped"])
def test_live_mount_is_not_cleared(
    state: str, image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Where something lives, even if it does not answer, a second mount is refused in time."""
    with lazypull.mount(image.reference, workspace / "cache1") as mounted:
        if state == "stopped":
            mounted.process.send_signal(signal.SIGSTOP)
        result = lazypull.run(
            "mount", "--cache-dir", workspace / "cache2", image.reference, mounted.path
        )
        mounted.process.send_signal(signal.SIGCONT)
        result.assert_refused(str(mounted.path), codes=[EXIT_BUSY])
        assert len(kernel.mounts_below(mounted.path)) == 1


@pytest.mark.parametrize("state", ["free", "stale"])
def test_race_for_a_mount_point(
    state: str,
    image: ConvertedImage,
    expected: tree.Tree,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """Of several that want one directory at the same time, one gets it, and the others say so."""
    target = workspace.directory("target")
    if state == "stale":
        lazypull.mount(image.reference, workspace / "cache", target).kill()
    runs = [
        lazypull.start("mount", "--cache-dir", workspace / f"cache{n}", image.reference, target)
        for n in range(4)
    ]
    codes = []
    for run in runs:
        run.communicate(timeout=LIMIT)
        codes.append(run.returncode)
    assert sorted(codes) == [EXIT_DONE, EXIT_BUSY, EXIT_BUSY, EXIT_BUSY]
    assert len(kernel.mounts_below(target)) == 1
    tree.assert_same(expected, tree.read(target))


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


def test_terminated_under_readers(
    image: ConvertedImage, expected: tree.Tree, lazypull: Lazypull, workspace: Workspace
) -> None:
    """SIGTERM while many read: right bytes or an error, no reader hangs, nothing is left."""
    mounted = lazypull.mount(image.reference, workspace / "cache")
    wrong: list[bytes] = []
    begun = threading.Semaphore(0)
    paths = [path for path, record in expected.items() if record.kind == "file"]

    def read_on(offset: int) -> None:
        for path in paths[offset:] + paths[:offset]:
            try:
                digest = tree.file_digest(os.path.join(os.fsencode(mounted.path), path))
            except OSError:
                return
            finally:
                begun.release()
            if digest != expected[path].digest:
                wrong.append(path)

    readers = [threading.Thread(target=read_on, args=[offset]) for offset in range(8)]
    for reader in readers:
        reader.start()
    for _ in readers:
        assert begun.acquire(timeout=LIMIT)
    mounted.process.terminate()
    for reader in readers:
        reader.join(LIMIT)
        assert not reader.is_alive(), "a reader hangs"
    assert wrong == []
    assert mounted.process.wait(LIMIT) == EXIT_DONE
    assert kernel.mounts_below(workspace.path) == []


def test_detached_with_an_open_file(
    image: ConvertedImage, lazypull: Lazypull, workspace: Workspace
) -> None:
    """After `umount --lazy` the process serves on until the last file is closed."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        with open(mounted.path / "upper", "rb", buffering=0) as held:
            kernel.unmount(mounted.path, kernel.MNT_DETACH)
            assert held.readall() == b"upper" * 100_000
            assert mounted.process.poll() is None
        assert mounted.process.wait(LIMIT) == EXIT_DONE


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


def test_read_ahead(image: ConvertedImage, lazypull: Lazypull, workspace: Workspace) -> None:
    """The kernel's read-ahead is the one that a mapped file of a cold image can bear."""
    with lazypull.mount(image.reference, workspace / "cache") as mounted:
        wait_until(lambda: kernel.read_ahead_kilobytes(mounted.path) == 128, "128 KiB read-ahead")


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
