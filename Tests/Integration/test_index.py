# SPDX-License-Identifier: Apache-2.0
"""Indexes: the image for a platform, all of them, and an image beside its conversion."""

from __future__ import annotations

import json
import platform
import subprocess

import pytest

import oci
from commands import EXIT_NOT_FOUND, EXIT_UNSUPPORTED, EXIT_USAGE, Lazypull
from scenarios import file
from tarball import archive
from workspace import Workspace

ARTIFACT_TYPE = "application/vnd.nydus.image.manifest.v1+json"
HERE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
UNKNOWN = {"os": "unknown", "architecture": "unknown"}


def put_for(layout: oci.Layout, architecture: str, variant: str = "") -> dict:
    """Stores an image for a platform."""
    tar = archive([file(b"arch", f"{architecture}{variant}".encode() * 1000)])
    layer = layout.put(tar, oci.OCI.layer)
    config = {**oci.image_config([oci.sha256(tar)]), "architecture": architecture}
    where = {"os": "linux", "architecture": architecture}
    if variant:
        config["variant"] = where["variant"] = variant
    layout.put_image("temporary", config, [layer])
    return {**layout.tags()["temporary"], "annotations": {}, "platform": where}


def put_attestation(layout: oci.Layout) -> dict:
    """Stores what BuildKit puts beside an image."""
    layer = layout.put(b"{}", "application/vnd.in-toto+json")
    layout.put_image("temporary", oci.image_config([oci.sha256(b"{}")]), [layer])
    return {**layout.tags()["temporary"], "annotations": {}, "platform": UNKNOWN}


@pytest.fixture
def layout(workspace: Workspace) -> oci.Layout:
    """An index with an index in it: this machine's image, three others, an attestation."""
    layout = oci.Layout.create(workspace / "layout")
    others = [put_for(layout, "s390x"), put_for(layout, "arm", "v6"), put_for(layout, "arm", "v7")]
    inner = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": others}
    entries = [layout.put_document(inner, oci.INDEX), put_for(layout, HERE),
               put_attestation(layout)]  # fmt: skip
    outer = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": entries}
    layout.set_tag("many", layout.put_document(outer, oci.INDEX))
    return layout


def test_platform(layout: oci.Layout, lazypull: Lazypull) -> None:
    """One image, by default this machine's; none and several are errors that say what there is."""
    for options, architecture in [
        ([], HERE), (["--platform", "linux/s390x"], "s390x"),
        (["--platform", "linux/arm/v7"], "arm"),
    ]:  # fmt: skip
        image = lazypull.convert(layout.reference("many"), layout, "lazy", *options)
        assert image.config["architecture"] == architecture
        lazypull.check(
            image.reference, "--against", layout.reference("many"), *options
        ).assert_done()
    source, target = layout.reference("many"), layout.reference("no")
    for options, code in [
        (["--platform", "linux/riscv64"], EXIT_NOT_FOUND),
        (["--platform", "linux/arm"], EXIT_UNSUPPORTED),
        (["--platform", "unknown/unknown"], EXIT_NOT_FOUND),
    ]:
        lazypull.run("convert", *options, source, target).assert_refused(
            "linux/arm/v6", codes=[code]
        )
    for options in (["--platform", "linux"], ["--platform", "a/b", "--all-platforms"]):
        lazypull.run("convert", *options, source, target).assert_refused(codes=[EXIT_USAGE])


def test_a_single_image_for_another_platform(
    layout: oci.Layout, workspace: Workspace, lazypull: Lazypull
) -> None:
    """Where there is nothing to choose from, --platform is still a demand."""
    single = lazypull.convert(layout.reference("many"), layout, "lazy", "--platform",
                              "linux/arm/v6")  # fmt: skip
    source, target = layout.reference("single"), layout.reference("no")
    layout.set_tag("single", put_for(layout, "arm", "v6"))
    wrong = ["--platform", "linux/s390x"]
    for arguments in (
        ["convert", *wrong, source, target], ["check", *wrong, single.reference],
        ["unpack", *wrong, single.reference, workspace / "files"],
        ["mount", *wrong, "--cache-dir", workspace / "cache", single.reference,
         workspace.directory("mount")],
    ):  # fmt: skip
        lazypull.run(*arguments).assert_refused(
            "linux/arm/v6", "expected linux/s390x", codes=[EXIT_NOT_FOUND]
        )
    right = ["--platform", "linux/arm/v6"]
    lazypull.run("convert", *right, source, target).assert_done()
    lazypull.check(single.reference, *right, "--against", source).assert_done()
    # Without the option a single image is taken whatever it is for.
    lazypull.check(single.reference, "--against", source).assert_done()


def test_all_platforms(layout: oci.Layout, lazypull: Lazypull) -> None:
    """Each image is converted as it would be alone; attestations stay."""
    source = layout.reference("many")
    lazypull.run("convert", "--all-platforms", source, layout.reference("all")).assert_done()
    entries = layout.manifest("all")["manifests"]
    assert [entry["platform"]["architecture"] for entry in entries] == [
        "s390x", "arm", "arm", HERE, "unknown"
    ]  # fmt: skip
    alone = lazypull.convert(source, layout, "lazy", "--platform", "linux/s390x")
    assert entries[0]["digest"] == alone.digest
    layers = layout.document(entries[-1]["digest"])["layers"]
    assert layers[0]["mediaType"] == "application/vnd.in-toto+json"
    for option in ([], ["--platform", "linux/arm/v6"]):
        lazypull.check(layout.reference("all"), "--against", source, *option).assert_done()


def test_an_image_named_many_times_is_converted_once(
    layout: oci.Layout, lazypull: Lazypull
) -> None:
    """A small index costs no more than the images it names."""
    one = put_for(layout, HERE)
    index = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [one] * 1000}
    layout.set_tag("again", layout.put_document(index, oci.INDEX))
    result = lazypull.run(
        "convert", "--all-platforms", "--output", "json", layout.reference("again"),
        layout.reference("all"),
    )  # fmt: skip
    assert len(result.assert_done().document()["images"]) == 1
    entries = layout.manifest("all")["manifests"]
    assert len(entries) == 1000
    assert len({entry["digest"] for entry in entries}) == 1


@pytest.mark.parametrize("elsewhere", ["oci", "oci-archive"])
def test_keep_original(
    elsewhere: str, layout: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """The original first, for all who know nothing of us; the conversion for those who do."""
    source = layout.reference("many")
    target = f"{elsewhere}:{workspace / 'target'}:both"
    result = lazypull.run("convert", "--keep-original", "--output", "json", source, target)
    report = result.assert_done().document()
    alone = lazypull.convert(source, layout, "lazy")
    inspect = ["skopeo", "inspect", "--raw", target]
    index = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    original, converted = index["manifests"]
    assert "artifactType" not in original
    assert converted["artifactType"] == ARTIFACT_TYPE
    assert converted["platform"] == original["platform"] == {"os": "linux", "architecture": HERE}
    assert converted["digest"] == alone.digest == report["images"][0]["manifest"]["digest"]
    assert original["digest"] == report["images"][0]["source"]["digest"]
    copy = oci.Layout.create(workspace / "copy")
    command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--preserve-digests", target,
               copy.reference("copy")]  # fmt: skip
    subprocess.run(command, check=True)
    assert copy.tags()["copy"]["digest"] == original["digest"]
    lazypull.check(target, "--against", target).assert_done()
    # Converted again, the original is what counts.
    again = lazypull.convert(target, layout, "again")
    assert again.digest == alone.digest
    with lazypull.mount(target, workspace / "cache") as mounted:
        assert (mounted.path / "arch").read_bytes() == HERE.encode() * 1000


def test_lost_mark(layout: oci.Layout, lazypull: Lazypull) -> None:
    """An old skopeo copies an index without what marks a conversion: the manifests still tell."""
    source, target = layout.reference("many"), layout.reference("both")
    lazypull.run("convert", "--keep-original", source, target).assert_done()
    index = layout.manifest("both")
    del index["manifests"][1]["artifactType"]
    layout.set_tag("copied", layout.put_document(index, oci.INDEX))
    copied = layout.reference("copied")
    lazypull.check(copied, "--against", copied).assert_done()
    again = lazypull.convert(copied, layout, "again")
    assert again.digest == index["manifests"][1]["digest"]
    # Of two originals, or two conversions, none is chosen.
    for number in (0, 1):
        twice = {**index, "manifests": [index["manifests"][number]] * 2}
        layout.set_tag("twice", layout.put_document(twice, oci.INDEX))
        lazypull.check(layout.reference("twice")).assert_refused(
            "holds 2 images", codes=[EXIT_UNSUPPORTED]
        )
    options = ["--all-platforms", copied, layout.reference("all")]
    lazypull.run("convert", *options).assert_done()
    assert layout.manifest("all")["manifests"][0]["digest"] == again.digest


def test_all_with_originals(layout: oci.Layout, lazypull: Lazypull) -> None:
    """Both options at once, and once more over their own result: the same bytes."""
    options = ["--all-platforms", "--keep-original"]
    first, second = layout.reference("first"), layout.reference("second")
    lazypull.run("convert", *options, layout.reference("many"), first).assert_done()
    lazypull.run("convert", *options, first, second).assert_done()
    assert len(layout.manifest("first")["manifests"]) == 9
    assert layout.tags()["first"]["digest"] == layout.tags()["second"]["digest"]
    lazypull.check(first, "--platform", "linux/arm/v7").assert_done()


def test_what_is_no_image(layout: oci.Layout, lazypull: Lazypull) -> None:
    """A chart or an artifact is refused by the name it has."""
    chart = "application/vnd.cncf.helm.config.v1+json"
    artifact = "application/vnd.example.model.v1"
    layer = layout.put(b"chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")
    for config, extra, name in [
        (chart, {}, chart),
        (oci.OCI.config, {"artifactType": artifact}, artifact),
    ]:
        manifest = {
            "schemaVersion": 2,
            "mediaType": oci.OCI.manifest,
            "config": layout.put_document(oci.image_config([]), config),
            "layers": [layer],
            **extra,
        }
        layout.set_tag("chart", layout.put_document(manifest, oci.OCI.manifest))
        for applet in (["convert", layout.reference("chart"), layout.reference("x")],
                       ["check", layout.reference("chart")]):  # fmt: skip
            lazypull.run(*applet).assert_refused(
                "no container image", name, codes=[EXIT_UNSUPPORTED]
            )


def test_empty_and_repeated_layers(lazypull: Lazypull, workspace: Workspace) -> None:
    """Layers without entries, without bytes, again, or none at all, from layout and archive."""
    layout = oci.Layout.create(workspace / "layout")
    full = archive([file(b"f", b"full" * 1000)])
    stacks = {"none": [], "empty": [archive([])], "mixed": [full, archive([]), full, bytes(10240)]}
    for tag, tars in stacks.items():
        layout.put_tars(tag, tars)
        source = layout.reference(tag)
        image = lazypull.convert(source, layout, f"{tag}-lazy")
        assert len(image.data_layers) == len(tars)
        lazypull.check(image.reference, "--against", source).assert_done()
        packed = workspace / f"{tag}.tar"
        lazypull.run("convert", "--keep-original", source, f"oci-archive:{packed}").assert_done()
        again = lazypull.convert(f"oci-archive:{packed}", layout, f"{tag}-again")
        assert again.digest == image.digest
        with lazypull.mount(f"oci-archive:{packed}", workspace / "cache") as mounted:
            names = [path.name for path in mounted.path.iterdir()]
            assert names == (["f"] if full in tars else [])
