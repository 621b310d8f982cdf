# SPDX-License-Identifier: Apache-2.0
"""The program around the applets: which one is meant, and what helps those who do not know."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from commands import EXIT_USAGE, Lazypull
from workspace import Workspace

APPLETS = ["convert", "push", "check", "mount", "unpack", "serve-snapshotter", "status", "gc"]


def test_list(lazypull: Lazypull) -> None:
    """The applets that exist, and no others."""
    assert lazypull.run("--list").assert_done().output.split() == APPLETS


@pytest.mark.parametrize("options", [[], ["-s"]])
def test_installed_links_call_their_applets(
    options: list[str], binary: Path, lazypull: Lazypull, workspace: Workspace
) -> None:
    """--install makes a link an applet, hard or symbolic, also where they are already."""
    directory = workspace.directory("bin")
    # Hard links stay within one file system.
    program = directory / "program"
    program.write_bytes(binary.read_bytes())
    program.chmod(0o755)
    installer = Lazypull(program, workspace)
    for _ in range(2):
        installer.run("--install", *options, directory).assert_done()
    links = {path.name: path for path in directory.iterdir() if path != program}
    assert links.keys() == {f"lazypull-{applet}" for applet in APPLETS}
    for applet in APPLETS:
        link = links[f"lazypull-{applet}"]
        assert link.is_symlink() == bool(options)
        assert os.path.samefile(link, program)
        linked = Lazypull(link, workspace).run("--help").assert_done()
        assert linked.output == lazypull.run(applet, "--help").assert_done().output


def test_help(lazypull: Lazypull) -> None:
    """Each way to ask for help gives the same page, on standard output."""
    for applet in APPLETS:
        pages = {
            lazypull.run(*words).assert_done().output
            for words in ([applet, "--help"], ["help", applet], ["--help", applet])
        }
        (page,) = pages
        assert f"lazypull {applet}" in page
    overview = lazypull.run("--help").assert_done().output
    assert all(applet in overview for applet in APPLETS)


@pytest.mark.parametrize(
    "words, nearest",
    [(["convrt"], "convert"), (["chek", "oci:x"], "check"), (["--lst"], "--list"),
     (["mount", "--forground", "oci:x", "/mnt"], "--foreground"),
     (["convert", "--quite", "oci:x", "oci:y"], "--quiet")],
)  # fmt: skip
def test_mistyped(words: list[str], nearest: str, lazypull: Lazypull) -> None:
    """The nearest right word is named."""
    lazypull.run(*words).assert_refused(nearest, codes=[EXIT_USAGE])


def test_version(lazypull: Lazypull) -> None:
    """One line: the name and a number."""
    name, number = lazypull.run("--version").assert_done().output.split()
    assert name == "lazypull"
    assert number[0].isdigit()


def test_nothing_asked(lazypull: Lazypull) -> None:
    """Without a word there is nothing to do."""
    lazypull.run().assert_refused(codes=[EXIT_USAGE])
