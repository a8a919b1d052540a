"""Signals from the first moment of the command: SIGTERM ends `serve`, also as process 1, SIGHUP does not."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from downshift.models.artifact import write
from tests.models.tiny_artifact import tiny_artifact
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
        _, said = process.communicate(timeout=120)
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
        _, said = outside.communicate(timeout=120)
    assert outside.returncode == 0, said
    assert said == b"", "it had not come to look for the model"


def test_sighup_while_the_server_is_imported_does_not_end_it() -> None:
    command = ["env", "--default-signal=HUP", *COMMAND]  # else nohup around the tests would be handed down
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: catches(psutil.Process(process.pid), signal.SIGHUP))
        process.send_signal(signal.SIGHUP)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 2, "it came to look for the model"
    assert "absent.onnx" in said


def test_under_nohup_sighup_stays_ignored() -> None:
    command = ["nohup", *COMMAND]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        wait_for(lambda: catches(psutil.Process(process.pid), signal.SIGTERM))
        assert not catches(psutil.Process(process.pid), signal.SIGHUP)
        process.communicate(timeout=120)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["SIGTERM", "Ctrl-C"]
)
def test_a_server_that_has_drained_ends_with_the_status_of_its_signal(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    command = [*COMMAND[:-3], str(tmp_path / "tiny.onnx"), "--port", "0", "--threads", "1", "--no-tune"]
    environment = os.environ | {"DOWNSHIFT_CACHE_DIR": str(tmp_path / "cache")}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert any(re.match(r"Open:\s+\S+", line) for line in process.stdout)
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == status, said
    assert "Traceback" not in said


def test_a_name_that_is_not_utf_8_can_be_printed(tmp_path: Path) -> None:
    """What a command prints at its end, the path of what it wrote perhaps, must not undo its work."""
    write(tmp_path / "tiny.onnx", tiny_artifact())
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    command = [sys.executable, "-m", "downshift", "export", str(tmp_path / "tiny.onnx"), "--subnet", "s0"]
    done = subprocess.run(
        [*command, "--out", folder], capture_output=True, env=os.environ | {"LC_ALL": "C.UTF-8"}, check=False
    )
    assert done.returncode == 0, done.stderr
    assert b"caf\\udce9" in done.stdout
