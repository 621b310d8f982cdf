# SPDX-License-Identifier: Apache-2.0
"""JSON Web Tokens that Debian's docker-registry verifies itself."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator

import pytest

import oci
from commands import EXIT_DENIED, Lazypull
from registries import files_stack, login
from services import Registry
from tokens import IDENTITY, TokenServer
from workspace import Workspace

COUNT, SIZE = 6, 300_000


@pytest.fixture
def tokens(workspace: Workspace) -> Iterator[TokenServer]:
    """A token server."""
    server = TokenServer(workspace)
    yield server
    server.close()


@pytest.fixture
def registry(tokens: TokenServer, workspace: Workspace) -> Registry:
    """A registry that wants its tokens."""
    return tokens.registry(workspace)


@pytest.fixture
def source(workspace: Workspace) -> str:
    """An image in a layout."""
    layout = oci.Layout.create(workspace / "source")
    files_stack(COUNT, SIZE).write(layout, "source")
    return layout.reference("source")


def environment(kind: str, workspace: Workspace, registry: Registry) -> dict[str, str]:
    """Of somebody who is logged in by a password, or by an identity token."""
    if kind == "password":
        return login(workspace, registry.address)
    path = workspace / "auth.json"
    path.write_text(json.dumps({"auths": {registry.address: {"identitytoken": IDENTITY}}}))
    return {**os.environ, "REGISTRY_AUTH_FILE": str(path)}


@pytest.mark.parametrize("kind", ["password", "identity token"])
def test_tokens_that_the_registry_verifies(
    kind: str,
    tokens: TokenServer,
    registry: Registry,
    source: str,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """Push, conversion between two repositories, and a mount whose tokens end before they should."""
    words = environment(kind, workspace, registry)
    plain, lazy = f"{registry.address}/app:plain", f"{registry.address}/other/app:lazy"
    lazypull.run("push", "--quiet", source, plain, env=words).assert_done()
    lazypull.run("convert", "--quiet", plain, lazy, env=words).assert_done()
    lazypull.run("check", "--quiet", "--against", plain, lazy, env=words).assert_done()
    assert {"repository:app:pull", "repository:other/app:pull,push"} <= set(tokens.scopes)
    # The answer says an hour, the registry finds them too old after two seconds.
    tokens.seconds, tokens.told_seconds = 2.0, 3600
    with lazypull.mount(lazy, workspace / "cache", None, "--read-ahead=0", env=words) as mounted:
        before = len(tokens.scopes)
        for number in range(COUNT):
            time.sleep(1.5)
            content = (mounted.path / f"d/{number}").read_bytes()
            assert content == random.Random(number).randbytes(SIZE)
        assert 2 <= len(tokens.scopes) - before <= COUNT
        assert not [line for line in mounted.log_lines() if " error " in line]


def test_what_a_token_does_not_grant(
    tokens: TokenServer,
    registry: Registry,
    source: str,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """One line that names the repository, after one renewal; nothing secret in it."""
    words = environment("password", workspace, registry)
    name = f"{registry.address}/locked/app:plain"
    for arguments in (["push", "--quiet", source, name], ["check", name]):
        tokens.scopes.clear()
        result = lazypull.run(*arguments, env=words)
        result.assert_refused("locked/app", "401", codes=[EXIT_DENIED])
        assert len(result.errors.strip().splitlines()) == 1, result
        assert 1 <= len(tokens.scopes) <= 2, tokens.scopes
        assert "eyJ" not in result.errors, "a token is shown"
