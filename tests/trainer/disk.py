"""A small file system of our own to run a program in, where the machine lets root mount one."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def run_on_small_disk(
    folder: Path | str, size: str, command: Sequence[str], **settings: object
) -> subprocess.CompletedProcess[str]:
    """The finished command, which found an empty file system of that size mounted on `folder`.

    The command alone sees the mount, which ends with it. Skips the test where none may be mounted.
    """
    mount = f"mount -t tmpfs -o size={size} tmpfs {folder}"
    probe = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, check=False)
    if probe.returncode:
        pytest.skip(f"this machine mounts no tmpfs for us: {probe.stderr.decode().strip()}")
    return subprocess.run(
        ["unshare", "--mount", "sh", "-c", f'{mount} && exec "$@"', "sh", *command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **settings,  # type: ignore[call-overload]
    )
