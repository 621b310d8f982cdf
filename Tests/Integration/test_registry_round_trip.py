# SPDX-License-Identifier: Apache-2.0
"""A real image through a real registry: skopeo pushes it, we convert it there and mount it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

import demo
import judges
import nginx
import oci
import tree
from commands import Lazypull
from rafs import ConvertedImage
from services import Registry
from workspace import open_workspace

pytestmark = pytest.mark.limit(600)

# Of the files, and the seed they are drawn by.
SHARE = 0.05
SEED = 8
# Fetched bytes over the stored bytes of the chunks that are read.
LARGEST_RATIO = 1.1


@dataclass(frozen=True)
class Case:
    """The image in the registry, and what it holds by other programs' words."""

    server: nginx.Nginx
    name: str
    expected: tree.Tree
    dump: str

    def files(self) -> dict[str, list[tuple[int, int]]]:
        """The chunks of each regular file that has some, by its path."""
        found = {}
        for line in self.dump.splitlines():
            match = re.match(r"(/[^\\ ]+) regular .* chunks=(\S+)", line)
            if match:
                parts = [word.split(":") for word in match[2].split(",")]
                found[match[1]] = [(int(blob), int(index)) for blob, index in parts]
        return found

    def stored(self) -> dict[tuple[int, int], tuple[int, int, int]]:
        """Where each chunk lies: blob, offset, size; the members of a batch at the same place."""
        return {
            (int(blob), int(index)): (int(blob), int(offset), int(size))
            for blob, index, offset, size in re.findall(
                r"^chunk (\d+):(\d+) .*? stored=(\d+)\+(\d+) ", self.dump, re.MULTILINE
            )
        }


@pytest.fixture(scope="module")
def case(binary) -> Iterator[Case]:
    """Pushed by skopeo, converted from registry to registry."""
    source = demo.layout()
    with open_workspace() as workspace:
        lazypull = Lazypull(binary, workspace)
        registry = Registry(workspace)
        original = f"docker://{registry.push(source, demo.TAG)}"
        target = f"docker://{registry.address}/app:lazy"
        lazypull.run("convert", "--quiet", original, target).assert_done()
        server = nginx.plain(workspace, registry)
        name = f"{server.address}/app:lazy"
        dump = lazypull.run("check", "--dump", name).assert_done().output
        expected = judges.umoci(source, demo.TAG, workspace / "umoci")
        yield Case(server, name, expected, dump)


def test_tree(case: Case, lazypull: Lazypull) -> None:
    """Every file as umoci has it."""
    with lazypull.mount(case.name, lazypull.workspace / "cache") as mounted:
        tree.assert_same(case.expected, tree.read(mounted.path))


def test_same_as_from_a_layout(case: Case, lazypull: Lazypull) -> None:
    """Where an image comes from and goes to does not show in it."""
    layout = oci.Layout(lazypull.workspace / "layout")
    local: ConvertedImage = lazypull.convert(demo.layout().reference(demo.TAG), layout, "lazy")
    lazypull.run("push", "--quiet", case.name, layout.reference("there")).assert_done()
    assert ConvertedImage(layout, "there").data_layers == local.data_layers


def test_a_few_files_cost_what_they_hold(
    case: Case, lazypull: Lazypull, tables: dict[str, list[str]]
) -> None:
    """Of 5 % of the files, read cold, little more is sent than their chunks; by nginx's count."""
    files = case.files()
    chosen = random.Random(SEED).sample(sorted(files), int(len(files) * SHARE))
    stored = case.stored()
    wanted = sum(size for _, _, size in {stored[key] for path in chosen for key in files[path]})
    ratios = {}
    for title, options in {"--read-ahead 0": ["--read-ahead=0"], "default": []}.items():
        cache = lazypull.workspace / f"cache{len(ratios)}"
        before = len(case.server.requests())
        with lazypull.mount(case.name, cache, None, *options) as mounted:
            for path in chosen:
                (mounted.path / path.lstrip("/")).read_bytes()
        seen = [seen for seen in case.server.requests()[before:] if seen.range]
        ratios[title] = sum(request.size for request in seen) / wanted, len(seen)
    tables["a random 5 % of the files, cold"] = [
        f"{title}: {ratio:.3f} times the {wanted:,} stored bytes of their chunks, in {count}"
        f" requests for {len(chosen)} files"
        for title, (ratio, count) in ratios.items()
    ]
    assert 1 <= ratios["--read-ahead 0"][0] < LARGEST_RATIO, ratios
