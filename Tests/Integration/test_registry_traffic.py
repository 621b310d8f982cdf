# SPDX-License-Identifier: Apache-2.0
"""Reads for an hour, compressed in time: tokens and signed addresses end all the while."""

from __future__ import annotations

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from commands import Lazypull
from gateway import PASSWORD, Gateway
from registries import Stored, login, store
from services import Registry
from workspace import Workspace

# LAZYPULL_HOUR=3600 makes it one.
SECONDS = float(os.environ.get("LAZYPULL_HOUR", "25"))
TOKEN_SECONDS = 5
# A token is not used in the last fifth of its life.
TOKEN_USE = TOKEN_SECONDS * 0.8
SIGNED_SECONDS = 3
READERS = 6
FILES = 120


@pytest.mark.limit(SECONDS + 60)
def test_hour_of_reads(
    lazypull: Lazypull, workspace: Workspace, tables: dict[str, list[str]]
) -> None:
    """No read fails, each byte is right, and an expiry costs one token for all readers."""
    stored = store(lazypull, Registry(workspace), FILES, 60_000)
    with Gateway(stored.registry.address) as gateway:
        gateway.behaviour.token_seconds = TOKEN_SECONDS
        gateway.behaviour.signed_seconds = SIGNED_SECONDS
        name = f"{gateway.address}/app@{stored.image.digest}"
        start = time.monotonic()
        environment = login(workspace, gateway.address)
        with lazypull.mount(
            name, workspace / "cache", None, "--read-ahead=0", env=environment
        ) as mounted:
            reads = read_for(SECONDS, stored, mounted.path)
            lines = mounted.log_lines()
        seconds = time.monotonic() - start
        assert reads == FILES
        assert not [line for line in lines if " error " in line or " warning " in line], lines
        log = "\n".join(lines)
        assert PASSWORD not in log and not [token for token in gateway.tokens if token in log]
        expiries = seconds / TOKEN_USE
        tables["reads for an hour, compressed in time"] = [
            f"{reads} reads by {READERS} readers in {seconds:.0f} s, {gateway.token_requests}"
            f" tokens of {TOKEN_SECONDS} s, "
            f"{sum(seen.status == 307 for seen in gateway.seen)} addresses of {SIGNED_SECONDS} s"
        ]
        assert seconds / TOKEN_USE / 2 <= gateway.token_requests <= expiries + 1
        refused = [seen for seen in gateway.seen if seen.status in (400, 403)]
        assert not refused, refused
        # The first request is refused, to learn whom to ask for tokens; those beside it as well.
        assert sum(seen.status == 401 for seen in gateway.seen) <= 1 + READERS


def read_for(seconds: float, stored: Stored, root: Path) -> int:
    """Reads files spread over the time, several at a time; how many were read, all of them right."""
    order = list(range(FILES))
    random.Random(1).shuffle(order)
    begin = time.monotonic()
    wrong: list[int] = []

    def work(reader: int) -> int:
        done = 0
        for place, number in enumerate(order[reader::READERS]):
            due = begin + seconds * place * READERS / FILES
            time.sleep(max(0.0, due - time.monotonic()))
            if (root / f"d/{number}").read_bytes() != stored.content(number):
                wrong.append(number)
            done += 1
        return done

    with ThreadPoolExecutor(READERS) as pool:
        done = sum(pool.map(work, range(READERS)))
    assert not wrong, wrong
    return done
