# SPDX-License-Identifier: Apache-2.0
"""The layer stacks that the tests run over, by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from layers import Stack, random_stack
from scenarios import SCENARIOS

# LAZYPULL_SEEDS="7 8 9" tries others: a failure's name holds its seed.
RANDOM_SEEDS = [int(seed) for seed in os.environ.get("LAZYPULL_SEEDS", "1 2 3 4 5 6").split()]

STACKS: dict[str, Callable[[], Stack]] = {
    **{scenario.__name__: scenario for scenario in SCENARIOS},
    **{f"random_{seed}": partial(random_stack, seed) for seed in RANDOM_SEEDS},
}
