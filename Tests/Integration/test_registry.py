# SPDX-License-Identifier: Apache-2.0
"""Registries: Debian's docker-registry, alone and behind a gateway that misbehaves."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import judges
import oci
import tree
from commands import EXIT_DENIED, EXIT_INPUT_OUTPUT, EXIT_NOT_FOUND, EXIT_USAGE, Lazypull
from gateway import FAULTS, PASSWORD, USER, Gateway
from generator import random_stack
from registries import behind, hosts, login
from services import Registry
from workspace import Workspace, wait_until

@pytest.fixture
def registry(workspace: Workspace) -> Registry:
    """A registry with nothing in it."""
    return Registry(workspace)


@pytest.fixture
def gateway(registry: Registry) -> Iterator[Gateway]:
    """A gateway to it that behaves."""
    with Gateway(registry.address) as gateway:
        yield gateway


@pytest.fixture
def source(workspace: Workspace) -> oci.Layout:
    """A layout with a random stack under the tag `source`."""
    layout = oci.Layout.create(workspace / "source")
    random_stack(3).write_twin(layout, "source")
    return layout


@pytest.fixture
def expected(source: oci.Layout, workspace: Workspace) -> tree.Tree:
    """Its tree by umoci's word, which gives some directories times of its own."""
    unpacked = judges.umoci(source, "source", workspace / "umoci")
    return tree.without_directory_times(unpacked)


@pytest.fixture
def lazy(registry: Registry, source: oci.Layout, lazypull: Lazypull) -> str:
    """The name of the same image, converted, in the registry."""
    name = f"{registry.address}/app:lazy"
    lazypull.run("convert", "--quiet", source.reference("source"), name).assert_done()
    return name


def read_all(root: Path) -> tree.Tree:
    """The whole tree, contents too, to be compared with `expected`."""
    return tree.without_directory_times(tree.read(root))


def test_from_registry_to_registry(
    registry: Registry,
    source: oci.Layout,
    expected: tree.Tree,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """What skopeo pushed is converted in the registry, mounted from it, and copied out again."""
    original = f"docker://{registry.push(source, 'source')}"
    target = f"docker://{registry.address}/other/app:lazy"
    lazypull.run("convert", "--quiet", original, target).assert_done()
    lazypull.run("check", "--quiet", "--against", original, target).assert_done()
    with lazypull.mount(target, workspace / "cache") as mounted:
        tree.assert_same(expected, read_all(mounted.path))
    unpacked = lazypull.unpack(target, workspace / "unpacked")
    tree.assert_same(expected, read_all(unpacked))
    local = oci.Layout(workspace / "local")
    converted = lazypull.convert(source.reference("source"), local, "lazy")
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", target,
         f"oci:{workspace / 'back'}:lazy"],
        check=True,
    )  # fmt: skip
    back = oci.Layout(workspace / "back")
    assert back.tags()["lazy"]["digest"] == converted.digest


def index_with_referrers(layout: oci.Layout) -> tuple[dict, list[dict]]:
    """An index of two platforms under the tag `all`, and two manifests that refer to it."""
    children = []
    for seed, architecture in [(4, "amd64"), (5, "arm64")]:
        random_stack(seed).write_twin(layout, architecture)
        descriptor = dict(layout.tags()[architecture])
        descriptor.pop("annotations", None)
        children.append({**descriptor, "platform": {"os": "linux", "architecture": architecture}})
    media_type = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": media_type, "manifests": children}
    root = layout.put_document(index, media_type)
    layout.set_tag("all", root)
    empty = layout.put(b"{}", "application/vnd.oci.empty.v1+json")
    referrers = []
    for number in (1, 2):
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.example.signature",
            "config": empty,
            "layers": [layout.put(b"signature %d" % number, "application/octet-stream")],
            "subject": root,
        }
        descriptor = layout.put_document(manifest, manifest["mediaType"])
        layout.set_tag(f"signature{number}", descriptor)
        referrers.append(descriptor)
    return root, referrers


@pytest.mark.parametrize("has_list", [False, True], ids=["tag", "list"])
def test_push_takes_all_along(
    has_list: bool, gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """All platforms and referrers arrive; a second push sends nothing; a third goes elsewhere."""
    gateway.behaviour.lists_referrers = has_list
    layout = oci.Layout.create(workspace / "layout")
    root, referrers = index_with_referrers(layout)
    name = f"{gateway.address}/app:all"
    first = lazypull.run("push", "--output", "json", "--quiet", layout.reference("all"), name)
    report = json.loads(first.assert_done().output)
    assert report["root"]["digest"] == root["digest"]
    assert report["manifests"] == 5
    assert report["sentBlobs"] == report["blobs"] > 5
    gateway.seen.clear()
    second = lazypull.run("push", "--output", "json", "--quiet", layout.reference("all"), name)
    assert json.loads(second.assert_done().output)["sentBlobs"] == 0
    assert not [seen for seen in gateway.seen if seen.method not in ("HEAD", "GET")]
    # From one repository to another: nothing is sent, and the referrers come along.
    other = f"{gateway.address}/other/app:all"
    third = lazypull.run("push", "--output", "json", "--quiet", name, other)
    report = json.loads(third.assert_done().output)
    assert (report["manifests"], report["sentBlobs"]) == (5, 0), report
    subprocess.run(
        ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--src-tls-verify=false",
         f"docker://{other}", f"oci:{workspace / 'back'}:all"],
        check=True,
    )  # fmt: skip
    assert oci.Layout(workspace / "back").tags()["all"]["digest"] == root["digest"]
    assert len(referrers) == 2


def test_interrupted_push_goes_on(
    gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """What was sent before the end is not sent again."""
    layout = oci.Layout.create(workspace / "layout")
    index_with_referrers(layout)
    name = f"{gateway.address}/app:all"
    process = lazypull.start("push", "--jobs", "1", layout.reference("all"), name)
    wait_until(
        lambda: sum(seen.method == "PUT" for seen in gateway.seen) >= 3, "three blobs to be sent"
    )
    process.kill()
    process.communicate()
    sent = sum(seen.method == "PUT" and seen.status == 201 for seen in gateway.seen)
    result = lazypull.run("push", "--output", "json", "--quiet", layout.reference("all"), name)
    report = json.loads(result.assert_done().output)
    assert report["sentBlobs"] <= report["blobs"] - sent
    assert report["sentBlobs"] < report["blobs"]


def test_tokens_that_end_soon(
    lazy: str, gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """Reads go on over many ends of tokens and addresses; each costs one request for a token."""
    gateway.behaviour.token_seconds = 2
    gateway.behaviour.signed_seconds = 3
    environment = login(workspace, gateway.address)
    # Another set of scopes for each repository: one here.
    process_environment = os.environ.copy()
    os.environ.update(environment)
    start = time.monotonic()
    try:
        with lazypull.mount(
            behind(gateway, lazy), workspace / "cache", None, "--read-ahead=0"
        ) as mounted:
            files = [path for path in mounted.path.rglob("*") if path.is_file()]
            step = max(1, len(files) // 20)
            for count, path in enumerate(files):
                if not path.is_symlink():
                    path.read_bytes()
                if count % step == 0:
                    time.sleep(0.4)
            lines = mounted.log_lines()
    finally:
        os.environ.clear()
        os.environ.update(process_environment)
    seconds = time.monotonic() - start
    assert gateway.token_requests <= seconds / (2 * 0.8) + 2
    assert gateway.token_requests >= 2
    log = "\n".join(lines)
    assert PASSWORD not in log and "Bearer" not in log
    assert not [token for token in gateway.tokens if token in log]
    signed = [seen for seen in gateway.seen if seen.path.startswith("/v2/") and seen.range]
    assert all(seen.is_authorized or seen.status == 401 for seen in signed if seen.status == 307)


def test_a_wrong_password(
    lazy: str, gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """One line that names the registry, and no password."""
    gateway.behaviour.token_seconds = 60
    name = behind(gateway, lazy)
    for environment in (login(workspace, gateway.address, "wrong-password"), None):
        result = lazypull.run("check", name, env=environment)
        assert result.code == EXIT_DENIED, result
        assert gateway.address in result.errors and "401" in result.errors
        assert "wrong-password" not in result.errors
        assert len(result.errors.strip().splitlines()) == 1, result
    right = lazypull.run("check", "--quiet", name, env=login(workspace, gateway.address))
    right.assert_done()


def test_what_is_not_there(registry: Registry, lazypull: Lazypull) -> None:
    """Unknown names, tags and hosts: one line each, and the documented exit code."""
    for name, code in [
        (f"{registry.address}/none:tag", EXIT_NOT_FOUND),
        (f"{registry.address}/none@sha256:{'0' * 64}", EXIT_NOT_FOUND),
        ("127.0.0.1:1/none", EXIT_INPUT_OUTPUT),
        ("no-such-host.invalid/none", EXIT_INPUT_OUTPUT),
        ("docker-daemon:none", EXIT_USAGE),
    ]:
        result = lazypull.run("check", name)
        assert result.code == code, result
        lines = [line for line in result.errors.splitlines() if not line.startswith("Try ")]
        assert len(lines) == 1, result


def test_range_less_registry(
    lazy: str, gateway: Gateway, lazypull: Lazypull, expected: tree.Tree, workspace: Workspace
) -> None:
    """A registry that sends whole blobs sends each once, whatever is read in which order."""
    gateway.behaviour.knows_ranges = False
    with lazypull.mount(behind(gateway, lazy), workspace / "cache") as mounted:
        tree.assert_same(expected, read_all(mounted.path))
        assert any("sends no ranges" in line for line in mounted.log_lines())
    blobs = [seen for seen in gateway.seen if "/blobs/" in seen.path and seen.status == 200]
    whole = {seen.path for seen in blobs}
    # The first request learns it, the second fetches; several may be on their way at first.
    assert len(blobs) <= 8 * len(whole)


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.limit(120)
def test_faults(
    kind: str,
    lazy: str,
    gateway: Gateway,
    lazypull: Lazypull,
    source: oci.Layout,
    expected: tree.Tree,
    workspace: Workspace,
) -> None:
    """Every fault at every object: right bytes in the end, or an error that names the cause."""
    gateway.behaviour.stall = 12
    name = behind(gateway, lazy)
    # Manifest and bootstrap: read by whole documents and streams.
    for path in ("/manifests/", "/blobs/"):
        if kind == "stall":
            # A stream waits 30 seconds, and it is known from ranges that waiting ends.
            break
        gateway.fault(kind, "GET", path)
        result = lazypull.run("check", "--dump", name)
        if kind == "corrupt":
            assert "digest mismatch" in result.errors, result
        else:
            result.assert_done()
        gateway.behaviour.faults.clear()
    # Ranges, below a mount.
    with lazypull.mount(name, workspace / "cache", None, "--read-ahead=0") as mounted:
        gateway.fault(kind, "GET", "/blobs/", times=1 if kind == "stall" else 2)
        if kind == "corrupt":
            for path in sorted(mounted.path.rglob("*")):
                if path.is_file() and not path.is_symlink() and gateway.behaviour.faults[0].times:
                    try:
                        path.read_bytes()
                    except OSError:
                        pass
            # A failure is the answer for 0.3 s.
            time.sleep(0.5)
        tree.assert_same(expected, read_all(mounted.path))
    gateway.behaviour.faults.clear()
    # Uploads.
    for number, method in enumerate(("POST", "PUT")):
        if kind in ("corrupt", "truncate", "stall"):
            break
        gateway.fault(kind, method, "/blobs/uploads/")
        target = f"{gateway.address}/fault{number}:tag"
        lazypull.run("push", "--quiet", source.reference("source"), target).assert_done()
        assert gateway.behaviour.faults[0].times == 0
        gateway.behaviour.faults.clear()


def test_large_uploads_go_in_chunks(
    gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A blob of several chunks arrives whole, also where one is answered with an error."""
    layout = oci.Layout.create(workspace / "layout")
    data = os.urandom(40 << 20)
    empty = layout.put(b"{}", "application/vnd.oci.empty.v1+json")
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": empty,
        "layers": [layout.put(data, "application/octet-stream")],
    }
    layout.set_tag("large", layout.put_document(manifest, manifest["mediaType"]))
    gateway.fault("503", "PATCH", "/blobs/uploads/")
    name = f"{gateway.address}/app:large"
    lazypull.run("push", "--quiet", layout.reference("large"), name).assert_done()
    patches = [seen for seen in gateway.seen if seen.method == "PATCH" and seen.status == 202]
    assert len(patches) == 3
    back = oci.Layout(workspace / "back")
    lazypull.run("push", "--quiet", name, back.reference("large")).assert_done()
    assert back.blob(manifest["layers"][0]["digest"]) == data


def test_mirrors(
    lazy: str,
    registry: Registry,
    gateway: Gateway,
    lazypull: Lazypull,
    workspace: Workspace,
) -> None:
    """A mirror that serves is used and told what for; one that fails is passed over, and named."""
    # The registry by another name, so that the gateway is no part of it.
    name = lazy.replace("127.0.0.1", "localhost")
    host = name.split("/", 1)[0]
    text = f'server = "http://{host}"\n[host."http://%s"]\ncapabilities = ["pull", "resolve"]\n'
    option = hosts(workspace, host.replace(":", "_") + "_", text % gateway.address)
    lazypull.run("check", "--quiet", option, name).assert_done()
    assert gateway.seen and all(f"ns={host.replace(':', '%3A')}" in s.path for s in gateway.seen)
    # One that has nothing, and one that is down.
    gateway.seen.clear()
    gateway.fault("500", "GET", "/v2/", times=10_000)
    result = lazypull.run("check", "--quiet", option, name).assert_done()
    assert "mirror failed" in result.errors and gateway.address in result.errors
    hosts(workspace, host.replace(":", "_") + "_", text % "127.0.0.1:1")
    result = lazypull.run("check", "--quiet", option, name).assert_done()
    assert result.errors.count("mirror failed") == 1, "a dead mirror is left alone for a while"
    result = lazypull.run("check", hosts(workspace, "_default", "server = 5"), "some.example/app")
    result.assert_refused("hosts.toml:1")


def test_secure_registry(
    source: oci.Layout, lazypull: Lazypull, workspace: Workspace
) -> None:
    """TLS with an authority of one's own, and a password for the registry itself."""
    key, certificate = workspace / "key.pem", workspace / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out",
         certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    users = subprocess.run(
        ["htpasswd", "-Bbn", USER, PASSWORD], check=True, capture_output=True
    ).stdout
    (workspace / "htpasswd").write_bytes(users)
    registry = Registry(
        workspace,
        f"  tls:\n    certificate: {certificate}\n    key: {key}\n"
        f"auth:\n  htpasswd:\n    realm: test\n    path: {workspace / 'htpasswd'}\n",
    )
    host = registry.address.replace("127.0.0.1", "localhost")
    name = f"{host}/app:source"
    directory = host.replace(":", "_") + "_"
    environment = login(workspace, host)
    untrusted = hosts(workspace, directory, f'server = "https://{host}"\n')
    result = lazypull.run("push", untrusted, source.reference("source"), name, env=environment)
    assert result.code == EXIT_DENIED and "certificate" in result.errors, result
    option = hosts(workspace, directory, f'server = "https://{host}"\nca = "{certificate}"\n')
    run = ["push", "--quiet", option, source.reference("source"), name]
    assert lazypull.run(*run).code == EXIT_DENIED
    lazypull.run(*run, env=environment).assert_done()
    lazypull.run("convert", "-q", option, name, f"{host}/app:lazy", env=environment).assert_done()
    lazypull.run(
        "check", "-q", option, "--against", name, f"{host}/app:lazy", env=environment
    ).assert_done()


def test_a_helper_gives_the_password(
    lazy: str, gateway: Gateway, lazypull: Lazypull, workspace: Workspace
) -> None:
    """A credential helper is run as Docker runs it."""
    gateway.behaviour.token_seconds = 60
    directory = workspace.directory("bin")
    helper = directory / "docker-credential-test"
    answer = json.dumps({"ServerURL": "", "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\nread server\n[ \"$1 $server\" = 'get {gateway.address}' ] &&"
                      f" echo '{answer}'\n")  # fmt: skip
    helper.chmod(0o755)
    config = workspace / "config.json"
    config.write_text(json.dumps({"credHelpers": {gateway.address: "test"}}))
    environment = {
        **os.environ,
        "DOCKER_CONFIG": str(workspace.path),
        "PATH": f"{directory}:{os.environ['PATH']}",
    }
    environment.pop("REGISTRY_AUTH_FILE", None)
    lazypull.run("check", "-q", behind(gateway, lazy), env=environment).assert_done()
    helper.write_text("#!/bin/sh\necho 'credentials not found in native keychain'\nexit 1\n")
    result = lazypull.run("check", behind(gateway, lazy), env=environment)
    assert result.code == EXIT_DENIED, result
