# SPDX-License-Identifier: Apache-2.0
"""The Debian image that Tests/Support/demo-image builds, kept from one run to the next."""

from __future__ import annotations

import fcntl
import hashlib
import os
import subprocess
from pathlib import Path

import oci

BUILDER = Path(__file__).resolve().parents[1] / "Support" / "demo-image"
TAG = "demo"


def layout() -> oci.Layout:
    """The image's layout, built once for each version of the builder: that takes a minute.

    LAZYPULL_TEST_CACHE says where it is kept.
    """
    cache = Path(os.environ.get("LAZYPULL_TEST_CACHE", "/var/tmp/lazypull-tests"))
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    # In /var/tmp anyone can make a directory first; what is in it is going to be run by root.
    if cache.stat().st_uid != os.geteuid():
        raise PermissionError(f"{cache} belongs to another user")
    version = hashlib.sha256(BUILDER.read_bytes()).hexdigest()[:12]
    path = cache / f"demo-{version}"
    with open(cache / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            subprocess.run([BUILDER, path], check=True)
    return oci.Layout(path)
