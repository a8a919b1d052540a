"""A project that has modules called models, server, runtime and trainer of its own can use Downshift."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from downshift.models import artifact
from tests.models.tiny_artifact import tiny_artifact

CALL = """
import models, numpy, runtime, server, trainer
assert {models.OWNER, runtime.OWNER, server.OWNER, trainer.OWNER} == {"the project"}
import downshift
with downshift.load("model.onnx", threads=1) as model:
    print(model.predict(numpy.zeros((1, 3, 5, 5), numpy.float32)).subnet)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the project's modules and a model."""
    for name in ("server", "runtime", "trainer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'the project'\n")
    (tmp_path / "models.py").write_text("OWNER = 'the project'\n")
    artifact.write(tmp_path / "model.onnx", tiny_artifact())
    monkeypatch.setenv("DOWNSHIFT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """What a command prints that runs in the folder and succeeds."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_runs_there(project: Path) -> None:
    assert "s0" in run(project, sys.executable, "-m", "downshift", "inspect", "model.onnx")
    program = shutil.which("downshift", path=str(Path(sys.executable).parent))
    assert program, "the console command is not installed beside this Python"
    assert "s0" in run(project, program, "profile", "model.onnx", "--threads", "1")


def test_the_python_api_runs_there_beside_the_projects_own_modules(project: Path) -> None:
    assert run(project, sys.executable, "-c", CALL) == "s0\n"


def test_the_trainer_is_imported_there(project: Path) -> None:
    script = "import downshift.trainer.train, models; print(models.OWNER)"
    assert run(project, sys.executable, "-c", script) == "the project\n"
