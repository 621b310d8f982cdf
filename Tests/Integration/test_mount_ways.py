# SPDX-License-Identifier: Apache-2.0
"""The ways to a mount other than root's `lazypull mount`: mount(8), fstab, an ordinary user."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import kernel
import oci
import tree
from commands import EXIT_CORRUPT, EXIT_DONE, EXIT_NOT_FOUND, EXIT_USAGE, Lazypull
from rafs import ConvertedImage
from workspace import LIMIT, Workspace, wait_until

# fusermount3 wants its user to have a name.
USER = pwd.getpwnam("nobody").pw_uid


@pytest.fixture
def helper(binary: Path, workspace: Workspace) -> Path:
    """The program under the name by which mount(8) calls it."""
    link = workspace / "mount.lazypull"
    link.symlink_to(binary)
    return link


@pytest.fixture
def installed_helper(helper: Path) -> Iterator[Path]:
    """The same where mount(8) looks for it."""
    link = Path("/sbin/mount.lazypull")
    if link.exists():
        pytest.skip(f"{link} is there already")
    link.symlink_to(helper)
    yield link
    link.unlink()


def test_helper(
    image: ConvertedImage, expected: tree.Tree, helper: Path, workspace: Workspace
) -> None:
    """Options behind -o are those of `lazypull mount`; what concerns others is passed over."""
    target = workspace.directory("target")
    options = f"ro,nosuid,noexec,_netdev,x-systemd.automount,cache-dir={workspace.path}/cache,read-ahead=0"
    options += f",log-file={workspace.path}/log"
    subprocess.run(
        [helper, image.reference, target, "-n", "-o", options, "-t", "lazypull"],
        check=True,
        timeout=LIMIT,
    )
    tree.assert_same(expected, tree.read(target))
    flags = os.statvfs(target).f_flag
    assert flags & os.ST_NOSUID and flags & os.ST_NOEXEC and not flags & os.ST_NODEV
    kernel.unmount(target)
    wait_until(lambda: not workspace.processes(), "the daemon to end")


@pytest.mark.parametrize(
    "words, naming",
    [
        (["oci:x", "/mnt", "-o", "cache-dri=/x"], "cache-dir"),
        (["oci:x"], "mount.lazypull IMAGE DIR"),
        (["oci:x", "/mnt", "-o"], "-o"),
        (["oci:x", "/mnt", "-x"], "-x"),
    ],
)
def test_helper_usage(
    words: list[str], naming: str, helper: Path, workspace: Workspace
) -> None:
    """What cannot be meant is refused by name."""
    Lazypull(helper, workspace).run(*words).assert_refused(naming, codes=[EXIT_USAGE])


def test_helper_fakes(helper: Path, workspace: Workspace) -> None:
    """With -f nothing happens; with -s options of other systems are passed over."""
    assert Lazypull(helper, workspace).run("oci:x", "/mnt", "-sf", "-o", "uid=1").code == EXIT_DONE


def test_mount_and_umount_programs(
    image: ConvertedImage, expected: tree.Tree, installed_helper: Path, workspace: Workspace
) -> None:
    """`mount -t lazypull` and a line of fstab, each with `umount`."""
    target = workspace.directory("target")
    options = f"cache-dir={workspace.path}/cache,log-file={workspace.path}/log"
    table = workspace / "fstab"
    table.write_text(f"{image.reference} {target} lazypull {options},noauto 0 0\n")
    for command in (
        ["mount", "-t", "lazypull", "-o", options, image.reference, target],
        ["mount", "--fstab", table, target],
    ):
        subprocess.run(command, check=True, timeout=LIMIT)
        tree.assert_same(expected, tree.read(target))
        subprocess.run(["umount", target], check=True, timeout=LIMIT)
        wait_until(lambda: not workspace.processes(), "the daemon to end")


def test_installation(image: ConvertedImage, binary: Path, workspace: Workspace) -> None:
    """install.sh puts mount.lazypull where mount(8) finds it; elsewhere it touches its prefix only.

    In a mount namespace of its own, on a /usr that is thrown away; the build is taken as done.
    """
    if not Path("/sbin").is_symlink():
        pytest.skip("/sbin is not below /usr")
    root = Path(__file__).parents[2]
    if not os.path.samefile(binary, root / ".build/release/lazypull"):
        pytest.skip("install.sh installs what was built here, which is not under test")
    swift = workspace.directory("stub") / "swift"
    swift.write_text("#!/bin/sh\necho 'Swift version 6.3.1 (stub)'\n")
    swift.chmod(0o755)
    script = workspace / "script"
    script.write_text(
        f"""set -eux
        mount -t overlay overlay /usr \\
            -o lowerdir=/usr,upperdir={workspace.directory("u")},workdir={workspace.directory("w")}
        rm -f /sbin/mount.lazypull
        PATH={swift.parent}:$PATH
        cd {root}
        ./install.sh --prefix {workspace.path}/elsewhere
        test {workspace.path}/elsewhere/sbin/mount.lazypull -ef {workspace.path}/elsewhere/bin/lazypull
        test -e {workspace.path}/elsewhere/share/man/man5/lazypull-config.5
        test ! -e /sbin/mount.lazypull
        for again in 1 2; do ./install.sh; done
        test /sbin/mount.lazypull -ef /usr/local/bin/lazypull
        mount -t lazypull -o cache-dir={workspace.path}/cache,log-file={workspace.path}/log \\
            {image.reference} {workspace.directory("target")}
        sha256sum {workspace.path}/target/upper
        umount {workspace.path}/target
        """
    )
    done = subprocess.run(
        ["unshare", "-m", "bash", script], capture_output=True, text=True, timeout=LIMIT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not Path("/sbin/mount.lazypull").exists()
    assert not Path("/usr/local/sbin/mount.lazypull").exists()
    wait_until(lambda: not workspace.processes(), "the daemon to end")


@pytest.mark.parametrize("way", ["option", "helper"])
def test_configuration(
    way: str, image: ConvertedImage, lazypull: Lazypull, helper: Path, workspace: Workspace
) -> None:
    """A file gives defaults; what the command line says goes first."""
    target = workspace.directory("target")
    file = workspace / "config.toml"
    file.write_text(
        f'[mount]\ncache-dir = "{workspace.path}/cache"\nread-ahead = 0\nlog-level = "error"\n'
        f'log-file = "{workspace.path}/log"\n\n[snapshotter]\n'
    )
    if way == "option":
        lazypull.run(
            "mount", "--config", file, "--log-level", "info", image.reference, target
        ).assert_done()
    else:
        words = [helper, image.reference, target, "-o", f"config={file},log-level=info"]
        subprocess.run(words, check=True, timeout=LIMIT)
    assert (target / "upper").read_bytes()
    kernel.unmount(target)
    wait_until(lambda: not workspace.processes(), "the daemon to end")
    assert list((workspace / "cache").glob("blobs/*/data"))
    assert " mounted " in (workspace / "log").read_text()


def test_log_in_json(image: ConvertedImage, helper: Path, workspace: Workspace) -> None:
    """Every line of a daemon's log is an object, whatever name the mount point has."""
    target = workspace.directory('ta"r\\g\x1bet')
    options = f"cache-dir={workspace.path}/cache,log-file={workspace.path}/log,log-format=json"
    subprocess.run([helper, image.reference, target, "-o", options], check=True, timeout=LIMIT)
    assert (target / "upper").read_bytes()
    kernel.unmount(target)
    wait_until(lambda: not workspace.processes(), "the daemon to end")
    events = [json.loads(line) for line in (workspace / "log").read_bytes().splitlines()]
    assert all({"time", "level", "msg"} <= event.keys() for event in events)
    statistics = [event for event in events if event["msg"] == "statistics"]
    assert int(statistics[-1]["reads"]) > 0
    mounted = next(event for event in events if event["msg"] == "mounted")
    assert mounted["path"] == str(target)


@pytest.mark.parametrize(
    "text, naming",
    [
        ("[mount]\n\nread-ahed = 1\n", ":3:13: [mount] has no key 'read-ahed'; did you mean"),
        ("[mount]\nread-ahead = -1\n", ":2:14: 'mount.read-ahead' must be a number from 0 to"),
        ('[mount]\ncache-dir = "x"\n', ":2:13: 'mount.cache-dir' must be an absolute path"),
        ("[mount]\nforeground = true\n", ":2:14: [mount] has no key 'foreground'"),
        ("[mounts]\n", ":1:1: there is no table 'mounts'; did you mean 'mount'?"),
        ("[mount\n", ":1:"),
    ],
)
def test_configuration_that_is_wrong(
    text: str, naming: str, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Nothing is mounted by a file with a slip in it, and the slip is named with its place."""
    file = workspace / "config.toml"
    file.write_text(text)
    refused = lazypull.run("mount", "--config", file, "oci:x:y", workspace.directory("target"))
    refused.assert_refused(f"{file}{naming}", codes=[EXIT_CORRUPT])


def test_configuration_that_is_missing(lazypull: Lazypull, workspace: Workspace) -> None:
    """A file that is named must exist."""
    lazypull.run(
        "mount", "--config", workspace / "none", "oci:x:y", workspace.directory("target")
    ).assert_refused("none", codes=[EXIT_NOT_FOUND])


@pytest.fixture
def fuse_for_all() -> Iterator[None]:
    """/dev/fuse as udev makes it: for everybody, since fusermount3 opens it as its user."""
    device = Path("/dev/fuse")
    mode = device.stat().st_mode & 0o777
    device.chmod(0o666)
    yield
    device.chmod(mode)


@pytest.fixture
def home(workspace: Workspace, fuse_for_all: None) -> Path:
    """An ordinary user's home directory."""
    path = workspace.directory("home")
    os.chown(path, USER, USER)
    return path


def as_user(home: Path, *more: str) -> list[str]:
    """How to become that user, with nothing of root's environment."""
    identity = ["--reuid", str(USER), "--regid", str(USER), "--clear-groups"]
    path = "PATH=/usr/local/bin:/usr/bin:/bin"
    return ["setpriv", *identity, "env", "-i", f"HOME={home}", path, *more]


@pytest.mark.parametrize(
    "variables", [[], ["XDG_CACHE_HOME"], ["XDG_CONFIG_HOME"], ["HOME"]], ids=" ".join
)
def test_ordinary_user(
    variables: list[str],
    image: ConvertedImage,
    expected: tree.Tree,
    lazypull: Lazypull,
    home: Path,
    workspace: Workspace,
) -> None:
    """A user mounts through fusermount3, with cache and configuration of their own, and ends it by
    a signal."""
    target = home / "mnt"
    target.mkdir()
    os.chown(target, USER, USER)
    # The module's image is root's alone to enter.
    layout = oci.Layout(workspace / "layout")
    shutil.copytree(image.layout.path, layout.path)
    more = [f"{name}={home}/elsewhere" for name in variables if name != "HOME"]
    configured = {"XDG_CONFIG_HOME": "elsewhere", "HOME": ".config"}
    for name in variables:
        if name in configured:
            file = home / configured[name] / "lazypull/config.toml"
            file.parent.mkdir(parents=True)
            file.write_text(f'[mount]\ncache-dir = "{home}/configured"\n')
    log = home / "log"
    lazypull.run(
        "mount", "--log-file", log, layout.reference(image.tag), target,
        prefix=as_user(home, *more), cwd=home,
    ).assert_done()  # fmt: skip
    (process,) = workspace.processes()
    seen = subprocess.run(
        [*as_user(home), "sha256sum", target / "upper"], capture_output=True, text=True, check=True
    )
    assert seen.stdout.split()[0] == expected[b"upper"].digest
    places = {"XDG_CACHE_HOME": "elsewhere/lazypull", "": ".cache/lazypull"}
    cache = home / places.get(" ".join(variables), "configured")
    assert list(cache.glob("blobs/*/data"))
    assert os.stat(cache).st_mode & 0o777 == 0o700
    os.kill(process, 15)
    wait_until(lambda: not workspace.processes(), "the daemon to end")
    assert not kernel.is_mounted(target)
    assert "not" not in log.read_text(), log.read_text()
