"""`downshift serve` ends on SIGTERM from its first moment, also as process 1 of a PID namespace."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.server.listening import wait_for

COMMAND = [sys.executable, "-m", "downshift", "serve", "absent.onnx", "--port", "0"]


def catches(process: psutil.Process, number: signal.Signals) -> bool:
    """Whether the process has a handler for that signal, as Linux has it."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
    except OSError:
        return False
    [caught] = [line.split()[1] for line in text.splitlines() if line.startswith("SigCgt")]
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_sigterm_while_the_server_is_imported_ends_it_with_success() -> None:
    with subprocess.Popen(COMMAND, stderr=subprocess.PIPE) as process:
        wait_for(lambda: catches(psutil.Process(process.pid), signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert said == b"", "it had not come to look for the model"


def test_process_1_ends_on_sigterm_too() -> None:
    unshare = ["unshare", "--pid", "--fork", "--kill-child"]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no PID namespaces here")
    with subprocess.Popen([*unshare, *COMMAND], stderr=subprocess.PIPE) as outside:
        wait_for(lambda: psutil.Process(outside.pid).children())
        [inside] = psutil.Process(outside.pid).children()
        wait_for(lambda: catches(inside, signal.SIGTERM))
        inside.send_signal(signal.SIGTERM)
        _, said = outside.communicate(timeout=60)
    assert outside.returncode == 0, said
    assert said == b"", "it had not come to look for the model"
