"""A user id that nobody knows, no home, and a file system that is read-only: as in a hardened container."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import TYPE_CHECKING

import httpx2
import psutil
import pytest

from downshift.models.artifact import write
from tests.models.images.pictures import encoded, noise, picture
from tests.models.tiny_artifact import tiny_artifact
from tests.server.listening import wait_for
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
SAID = "so the next start measures again"
STRANGER = "654321"

# All mounts of a namespace of our own become read-only but those of the kernel; only reading is permitted.
CONTAINER = f"""
mount --make-rprivate / &&
for mount in $(awk '{{print $5}}' /proc/self/mountinfo | sort -r | uniq); do
  case $mount in /proc*|/dev*|/sys*) ;; *) mount -o remount,bind,ro "$mount" 2>/dev/null ;; esac
done
exec setpriv --reuid {STRANGER} --regid {STRANGER} --clear-groups --no-new-privs \
  --inh-caps=-all,+dac_read_search --ambient-caps=-all,+dac_read_search \
  --bounding-set=-all,+dac_read_search env -i "PATH=$PATH" LC_ALL=C.UTF-8 PYTHONPATH={ROOT} "$@"
"""
INSIDE = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", CONTAINER, "sh"]


@pytest.fixture(scope="module")
def inside() -> list[str]:
    """What a command is put after, to run inside; skips where this machine permits no such thing."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("no unshare and setpriv here (Debian package util-linux)")
    probe = (
        f"import os; assert os.getuid() == {STRANGER} and os.access('/', os.R_OK) > os.access('/', os.W_OK)"
    )
    done = subprocess.run(
        [*INSIDE, sys.executable, "-c", probe], capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        pytest.skip(f"no read-only file system under another user id here: {done.stderr.strip()[-200:]}")
    return INSIDE


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Two models and a picture, where a stranger may read them; pytest's own folders are private."""
    with TemporaryDirectory(prefix="downshift-") as name:
        made = Path(name)
        made.chmod(0o755)
        write(made / "tiny.onnx", tiny_artifact())
        write(made / "other.onnx", tiny_artifact(seed=1))
        (made / "picture.png").write_bytes(encoded(picture(noise(9, 7))))
        yield made


@pytest.mark.parametrize("arguments", ["profile tiny.onnx --json", "predict tiny.onnx picture.png --json"])
def test_commands_go_on_without_a_cache_and_say_so_once(
    inside: list[str], folder: Path, arguments: str
) -> None:
    command = [*inside, sys.executable, "-B", "-m", "downshift", *arguments.split(), "--threads", "1"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("[", "{"))
    (line,) = done.stderr.splitlines()
    assert SAID in line
    assert "no home directory" in line


def address(process: subprocess.Popen[str]) -> str:
    """Where the server answers, once it says so."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("Open:"):
            return line.split()[-1]
    raise AssertionError("the server ended")


def served(url: str, folder: Path) -> None:
    """Both models answer, in either form of upload, and both have been tuned: then profiles are stored."""
    content = (folder / "picture.png").read_bytes()
    tuned = [f'downshift_tuning_progress_ratio{{model="{name}"}} 1.0' for name in ("tiny", "other")]
    with httpx2.Client(base_url=url, trust_env=False, timeout=120) as client:
        assert client.post("/predict", content=content).status_code == 200
        assert client.post("/predict", files={"image": ("p.png", content)}).status_code == 200
        wait_for(lambda: all(each in client.get("/metrics").text for each in tuned))


def test_the_server_goes_on_without_a_cache_and_says_so_once(inside: list[str], folder: Path) -> None:
    command = [*inside, sys.executable, "-B", "-m", "downshift", "serve", "tiny.onnx", "other.onnx"]
    with TemporaryFile("w+") as log:
        with subprocess.Popen(
            [*command, "--port", "0", "--threads", "1"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process:
            try:
                served(address(process), folder)
            finally:  # a change of user clears what --kill-child asks of the kernel
                for each in [*psutil.Process(process.pid).children(recursive=True), process]:
                    each.kill()
        log.seek(0)
        said = log.read()
    assert said.count(SAID) == 1, said
    assert "Traceback" not in said


NOBODY = """
import os, pwd
os.environ.pop("HOME", None)
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""


@pytest.mark.parametrize("cache", ["", "tiny.onnx/inside-of-a-file"])
def test_the_same_without_a_namespace(folder: Path, tmp_path: Path, cache: str) -> None:
    """The twin that runs everywhere: no home that could be found, or a cache that cannot be made."""
    write(tmp_path / "tiny.onnx", tiny_artifact())
    environment = {"DOWNSHIFT_CACHE_DIR": str(folder / cache) if cache else "", "XDG_CACHE_HOME": ""}
    environment["DOWNSHIFT_THREADS"] = "1"
    with ServerProcess(tmp_path / "tiny.onnx", environment, NOBODY, [folder / "other.onnx"]) as server:
        served(server.url, folder)
        said = server.stop()
    assert server.process.returncode == 0
    assert said.count(SAID) == 1, said
