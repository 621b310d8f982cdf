# SPDX-License-Identifier: Apache-2.0
"""containerd's own client and snapshotter suite against `lazypull serve-snapshotter`: the driver in
Tests/Conformance, built offline from Debian's packages."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from workspace import Workspace, open_workspace

SOURCES = Path(__file__).resolve().parents[1] / "Conformance"

# The suite's cases in containerd 1.6; it skips one itself.
SUITE_CASES = 21
SUITE_SKIPS = ["Rename"]

PARTS = ["Filters", "Refusals", "FieldMasks", "LongList", "ConcurrentPrepares", "CancelledCalls"]


@pytest.fixture(scope="module")
def driver() -> Iterator[Path]:
    """The test program, which compiles containerd's packages."""
    with open_workspace() as workspace:
        path = workspace / "conformance"
        environment = {
            **os.environ,
            "GO111MODULE": "off",
            "GOPATH": "/usr/share/gocode",
            "GOFLAGS": "",
            "GOCACHE": os.environ.get("GOCACHE", str(workspace / "cache")),
        }
        build = ["go", "test", "-c", "-o", path, "."]
        subprocess.run(build, cwd=SOURCES, env=environment, check=True)
        yield path


class Report:
    """What the driver says of its tests."""

    def __init__(self, result: subprocess.CompletedProcess[str]) -> None:
        self.result = result
        self.ends = dict(
            reversed(match)
            for match in re.findall(r"^ *--- (PASS|FAIL|SKIP): (\S+)", result.stdout, re.MULTILINE)
        )

    def assert_passed(self) -> None:
        """Fails, with all that was said, unless something ran and all of it passed."""
        assert self.result.returncode == 0, self.result.stdout + self.result.stderr
        assert self.ends, self.result.stdout


def run(driver: Path, binary: Path, workspace: Workspace, pattern: str) -> Report:
    """Runs those tests of the driver's that match; their directories are below the workspace."""
    environment = {**os.environ, "LAZYPULL": str(binary), "TMPDIR": str(workspace.path)}
    # The suite's cases run at once, each with a service.
    arguments = [driver, "-test.v", "-test.run", pattern, "-test.parallel", "4"]
    return Report(
        subprocess.run(
            arguments, cwd=workspace.path, env=environment, capture_output=True, text=True
        )
    )


@pytest.mark.limit(600)
def test_containerds_suite_passes(driver: Path, binary: Path, workspace: Workspace) -> None:
    report = run(driver, binary, workspace, "^TestSuite$")
    report.assert_passed()
    cases = {name.split("/")[1]: end for name, end in report.ends.items() if "/" in name}
    assert [name for name, end in cases.items() if end == "SKIP"] == SUITE_SKIPS
    assert len(cases) == SUITE_CASES


@pytest.mark.parametrize("part", PARTS)
def test_what_the_suite_leaves_out(
    driver: Path, binary: Path, workspace: Workspace, part: str
) -> None:
    run(driver, binary, workspace, f"^Test{part}$").assert_passed()


def test_the_benchmark_of_calls_works(binary: Path, workspace: Workspace) -> None:
    output = workspace / "times.json"
    program = SOURCES.parent / "Benchmarks" / "snapshots"
    subprocess.run([program, "--count", "5", "--lazypull", binary, "--output", output], check=True)
    calls = json.loads(output.read_text())["calls"]
    assert len(calls) == 5
    methods = {"Prepare", "Mounts", "Stat", "Commit", "Nothing"}
    assert all(set(side) == methods for side in calls.values())
