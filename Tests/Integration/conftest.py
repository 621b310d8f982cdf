# SPDX-License-Identifier: Apache-2.0
"""Fixtures, and what holds for every test: root, a time limit, nothing left behind."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import oci
import tree
from cases import large_stack
from commands import Lazypull
from rafs import ConvertedImage
from workspace import Workspace, open_workspace, release_all

REPOSITORY = Path(__file__).resolve().parents[2]

# Seconds for one test; `@pytest.mark.limit(...)` gives it others.
TEST_LIMIT = 180


class TestTimeout(Exception):
    """A test has run into its time limit."""

    __test__ = False


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "limit(seconds): this test's time limit")
    signal.signal(signal.SIGALRM, _raise_timeout)
    # A shell's background jobs ignore SIGINT, and so would all programs that are started here.
    signal.signal(signal.SIGINT, signal.default_int_handler)


TABLES = pytest.StashKey[dict[str, list[str]]]()


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for title, lines in config.stash.get(TABLES, {}).items():
        terminalreporter.section(title)
        for line in lines:
            terminalreporter.line(line)


@pytest.fixture
def tables(pytestconfig: pytest.Config) -> dict[str, list[str]]:
    """What a test has measured, by title: printed at the end of the run, whatever comes of it."""
    return pytestconfig.stash.setdefault(TABLES, {})


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() != 0:
        reason = "needs root: it mounts file systems and compares owners and device nodes"
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    marker = item.get_closest_marker("limit")
    limit = marker.args[0] if marker else TEST_LIMIT
    watchdog = threading.Timer(limit, _end_hanging_test)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.cancel()
        watchdog.join()


def _end_hanging_test() -> None:
    # Order matters: while the main thread waits for a dead FUSE file system it takes no signal,
    # so first the processes and connections go that it may be waiting for.
    release_all()
    signal.pthread_kill(threading.main_thread().ident, signal.SIGALRM)


def _raise_timeout(*_: object) -> None:
    raise TestTimeout("the test's time limit has passed; see conftest.py")


@pytest.fixture(scope="session")
def binary() -> Path:
    """The program under test."""
    path = Path(os.environ.get("LAZYPULL", REPOSITORY / ".build" / "release" / "lazypull"))
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is no executable: build it, or name another with LAZYPULL")
    return path.resolve()


@pytest.fixture(scope="session")
def fixtures() -> Path:
    """The folder of images made by other tools, which is not part of the repository."""
    folder = os.environ.get("LAZYPULL_FIXTURES")
    if not folder:
        pytest.skip("LAZYPULL_FIXTURES is not set")
    path = Path(folder).resolve()
    if not path.is_dir():
        pytest.fail(f"LAZYPULL_FIXTURES names {folder}, which is no directory")
    return path


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    """A directory for this test."""
    with open_workspace() as space:
        yield space


@pytest.fixture(scope="module")
def module_workspace() -> Iterator[Workspace]:
    """A directory for what a module's tests share."""
    with open_workspace() as space:
        yield space


@pytest.fixture
def lazypull(binary: Path, workspace: Workspace) -> Lazypull:
    """The program under test, running in this test's workspace."""
    return Lazypull(binary, workspace)


@pytest.fixture(scope="module")
def image(binary: Path, module_workspace: Workspace) -> ConvertedImage:
    """An image to mount; see `large_stack`. Where another is needed, the module has its own."""
    layout = oci.Layout.create(module_workspace / "layout")
    large_stack().write(layout, "source")
    lazypull = Lazypull(binary, module_workspace)
    return lazypull.convert(layout.reference("source"), layout, "lazy")


@pytest.fixture(scope="module")
def expected(image: ConvertedImage, binary: Path, module_workspace: Workspace) -> tree.Tree:
    """The image's tree; that it is the right one is what test_trees.py says."""
    lazypull = Lazypull(binary, module_workspace)
    with lazypull.mount(image.reference, module_workspace / "cache") as mounted:
        return tree.read(mounted.path)
