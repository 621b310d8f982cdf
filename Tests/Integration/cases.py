# SPDX-License-Identifier: Apache-2.0
"""The layer stacks that the tests run over, by name."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial

from generator import random_stack
from layers import MEBIBYTE, Stack
from scenarios import SCENARIOS, directory, file

# LAZYPULL_SEEDS="7 8 9" tries others: a failure's name holds its seed.
RANDOM_SEEDS = [int(seed) for seed in os.environ.get("LAZYPULL_SEEDS", "1 2 3 4 5 6").split()]

STACKS: dict[str, Callable[[], Stack]] = {
    **{scenario.__name__: scenario for scenario in SCENARIOS},
    **{f"random_{seed}": partial(random_stack, seed) for seed in RANDOM_SEEDS},
}

# How many files `large_stack` has in its directory `d`, by the names `0`, `1` and so on.
FILES = 24


def large_stack() -> Stack:
    """Two layers with enough data for a reader to be interrupted in."""
    return Stack([
        [directory(b"d"), *(file(b"d/%d" % n, _content(n)) for n in range(FILES))],
        [file(b"upper", b"upper" * 100_000)],
    ])  # fmt: skip


def _content(number: int) -> bytes:
    """Half noise, half text: chunks of which some compress."""
    noise = random.Random(number).randbytes(MEBIBYTE // 2)
    return noise + b"%d " % number * (MEBIBYTE // 4) + noise
