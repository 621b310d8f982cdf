# SPDX-License-Identifier: Apache-2.0
"""What a user is told when a registry cannot be used: one line, and the documented exit code."""

from __future__ import annotations

import os

import pytest

import kernel
import nginx
from commands import (
    EXIT_DENIED,
    EXIT_INPUT_OUTPUT,
    EXIT_NO_SPACE,
    EXIT_NOT_FOUND,
    Lazypull,
    Result,
)
from gateway import Gateway
from registries import Stored, certificate, hosts, hosts_name, login, store
from services import Registry
from workspace import Workspace

# An image that is read: what stands for it is replaced by its name.
IMAGE = "IMAGE"
READS = {
    "check": ["check", IMAGE],
    "unpack": ["unpack", IMAGE, "unpacked"],
    "mount": ["mount", "--foreground", "--cache-dir=cache", IMAGE, "mountpoint"],
    "convert": ["convert", "--quiet", IMAGE, "oci:converted:tag"],
    "push from": ["push", "--quiet", IMAGE, "oci:copied:tag"],
}
COMMANDS = {**READS, "push to": ["push", "--quiet", "LAYOUT", IMAGE]}


@pytest.fixture
def stored(lazypull: Lazypull, workspace: Workspace) -> Stored:
    """A small image in a registry."""
    return store(lazypull, Registry(workspace), 3, 100_000)


def run(lazypull: Lazypull, stored: Stored, words: list[str], name: str, *options: str,
        **process) -> Result:  # fmt: skip
    """Runs one of the commands in a directory where its targets may be made."""
    (lazypull.workspace / "mountpoint").mkdir(exist_ok=True)
    replaced = {IMAGE: name, "LAYOUT": stored.image.reference}
    words = [replaced.get(word, word) for word in words]
    return lazypull.run(words[0], *options, *words[1:], cwd=lazypull.workspace.path, **process)


def assert_one_line(result: Result, code: int, *naming: str) -> None:
    """Fails unless there is one line, with these words, and the code."""
    lines = result.errors.strip().splitlines()
    # In the foreground, mount's standard error is its log as well, which says it once more.
    lines = [line for line in lines if line.startswith("lazypull ")] or lines
    assert result.code == code and len(lines) == 1, result
    assert not [word for word in naming if word not in lines[0]], (naming, result)


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_a_wrong_password(
    words: list[str], stored: Stored, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The registry is named, and what to look at; the password is not."""
    with Gateway(stored.registry.address) as gateway:
        gateway.behaviour.token_seconds = 60
        environment = login(workspace, gateway.address, "wrong-password")
        result = run(lazypull, stored, words, f"{gateway.address}/app:lazy", env=environment)
        assert_one_line(result, EXIT_DENIED, gateway.address, "401", "login")
        assert "wrong-password" not in result.errors


@pytest.mark.parametrize("words", READS.values(), ids=READS)
def test_an_unknown_repository(words: list[str], stored: Stored, lazypull: Lazypull) -> None:
    """What is not there is named, with where it was looked for."""
    name = f"{stored.registry.address}/nothing:here"
    result = run(lazypull, stored, words, name)
    assert_one_line(result, EXIT_NOT_FOUND, f"{stored.registry.address}/nothing", "here")


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_an_untrusted_certificate(
    words: list[str], stored: Stored, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The host is named, and where an authority would be."""
    _, chain, key = certificate(workspace.path)
    server = nginx.secure(workspace, stored.registry, chain, key)
    host = server.address.replace("127.0.0.1", "localhost")
    option = hosts(workspace, hosts_name(host), f'server = "https://{host}"\n')
    result = run(lazypull, stored, words, f"{host}/app:lazy", option)
    assert_one_line(result, EXIT_DENIED, host, "certificate", "hosts.toml")


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS)
def test_an_unreachable_host(words: list[str], stored: Stored, lazypull: Lazypull) -> None:
    """Nobody listens, or the name is unknown."""
    result = run(lazypull, stored, words, "127.0.0.1:1/app:lazy")
    assert_one_line(result, EXIT_INPUT_OUTPUT, "127.0.0.1:1", "connect")


def test_a_full_disk(stored: Stored, lazypull: Lazypull, workspace: Workspace) -> None:
    """Wherever a disk is written to, what is full is named; nothing is half there afterwards."""
    full = workspace.directory("full")
    kernel.mount_tmpfs(full, 128 << 10)
    name = f"{stored.registry.address}/app:lazy"
    for words in (
        ["push", "--quiet", IMAGE, f"oci:{full / 'layout'}:tag"],
        ["unpack", "--quiet", IMAGE, str(full / "unpacked")],
    ):
        result = run(lazypull, stored, words, name)
        assert_one_line(result, EXIT_NO_SPACE, str(full), "space")
    # All of it goes to the bootstrap, before anything is read.
    os.sync()
    filler = full / "filler"
    with open(filler, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    words = ["mount", "--foreground", f"--cache-dir={full / 'cache'}", IMAGE, "mountpoint"]
    result = run(lazypull, stored, words, name)
    assert_one_line(result, EXIT_NO_SPACE, str(full), "space")
