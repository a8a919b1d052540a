"""A server of the tiny artifact in a process of its own, and programs that run against it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from downshift.models.artifact import write
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = Path(sys.prefix) / ".clients"
SCRIPTS = Path(__file__).parent / "scripts"
MODEL = "tiny"
ADMIN_KEY = "the-key-of-whoever-runs-this-test"
_SERVER = """
import sys
from downshift.cli.server_console import ServerConsole
from downshift.server.serve import run
run(sys.argv[1], port=0, threads=1, cache_dir=sys.argv[2], drain_seconds=5, operator=ServerConsole())
"""


@contextmanager
def served(folder: Path, *, over_grpc: bool = False) -> Iterator[str]:
    """`host:port` of a server that is ready, and that obeys `ADMIN_KEY`; `folder` is for its files.

    over_grpc: of the port that speaks gRPC.
    """
    told = r"gRPC:\s+(\S+)" if over_grpc else r"Open:\s+http://(\S+)"
    write(folder / f"{MODEL}.onnx", tiny_artifact())
    (folder / "keys").write_text(ADMIN_KEY)
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER, str(folder / f"{MODEL}.onnx"), str(folder / "cache")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"DOWNSHIFT_ADMIN_KEYS_FILE": str(folder / "keys")}
        | ({"DOWNSHIFT_GRPC_PORT": "0"} if over_grpc else {}),
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.match(told, line):
                    yield found[1]
                    break
            else:
                pytest.fail("the server ended before it was ready")
        finally:
            process.kill()


def client(name: str, program: str) -> Path:
    """A program of a client's environment; skips the test where that is not installed."""
    if not (CLIENTS / name / ".complete").exists():
        pytest.skip(f"{name} is not installed: `make test` installs it where it can be had")
    return CLIENTS / name / program


def run(*command: str | Path, **environment: str) -> str:
    """What the command prints; fails with what it complains about unless it succeeds."""
    ended = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": os.environ.get("PATH", ""), "HOME": os.environ.get("HOME", "/"), **environment},
    )
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    return ended.stdout


def seen(script: str, name: str, address: str, *arguments: str) -> dict[str, Any]:
    """What the script, run by that client's own Python, says it saw of the server: its last line, JSON."""
    output = run(client(name, "bin/python"), SCRIPTS / script, address, MODEL, *arguments)
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found
