# SPDX-License-Identifier: Apache-2.0
"""What becomes of the samples: a document for programs, a table for people."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from measuring import Sample

# By row and side.
Samples = dict[str, dict[str, list[Sample]]]


def report(
    image: dict, rows: list[tuple[str, int | None, float | None]], samples: Samples
) -> dict:
    """The document for `--output`: medians for reading, samples for reckoning.

    A row is its name, the bytes that it works on, and what the first side executes for each.
    """
    return {
        "machine": machine(),
        "image": image,
        "rows": [
            {
                "name": row,
                "bytes": amount,
                "instructions_per_byte": instructions,
                "sides": [
                    {
                        "name": name,
                        "median": {
                            key: statistics.median(getattr(sample, key) for sample in taken)
                            for key in Sample.__dataclass_fields__
                        },
                        "samples": [asdict(sample) for sample in taken],
                    }
                    for name, taken in samples[row].items()
                ],
            }
            for row, amount, instructions in rows
        ],
    }


def machine() -> dict:
    """What the numbers depend on."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "model": models[0] if models else "unknown",
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE"),
    }


def table(document: dict) -> Iterator[str]:
    """The medians, each row's sides together; `ratio` is to the row's first side."""
    width = max(len(row["name"]) for row in document["rows"])
    yield f"{'row':<{width}}  {'side':<34}  {'wall s':>8}  {'min':>7}  {'max':>7}  " + (
        f"{'CPU s':>7}  {'MB/s':>7}  {'peak MB':>7}  {'ratio':>6}  {'instr/B':>7}"
    )
    for row in document["rows"]:
        instructions = row["instructions_per_byte"]
        ours = row["sides"][0]["median"]["wall_seconds"]
        for side in row["sides"]:
            median = side["median"]
            walls = [sample["wall_seconds"] for sample in side["samples"]]
            wall = median["wall_seconds"]
            rate = f"{row['bytes'] / wall / 1e6:.0f}" if row["bytes"] else "-"
            memory = median["peak_memory_bytes"]
            peak = f"{memory / 1e6:.0f}" if memory else "-"
            yield (
                f"{row['name']:<{width}}  {side['name']:<34}  {wall:>8.3f}  {min(walls):>7.3f}  "
                f"{max(walls):>7.3f}  {median['cpu_seconds']:>7.2f}  {rate:>7}  "
                f"{peak:>7}  {wall / ours:>6.2f}"
                + (f"  {instructions:>7.2f}" if instructions else "")
            )
            # Of the first side only.
            instructions = None
