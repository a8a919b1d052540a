"""Loading processes end with the trainer, and their failures are one sentence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from downshift.trainer.data import loading_process
from downshift.trainer.data.image_folder import evaluation_batches, read
from downshift.trainer.data.loading_process import check_shared_memory
from downshift.trainer.errors import WorkerError
from tests.trainer.data.test_image_folder import write
from tests.trainer.disk import run_on_small_disk

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1"}
LIMIT_S = 120  # a generous bound: what is waited for takes seconds
MIB = 2**20

PROGRAM = """
import sys, torch
from pathlib import Path
from downshift.trainer.data.image_folder import FolderBatches, read
from downshift.trainer.errors import WorkerError

data = read("imagenet", Path(sys.argv[1]), validation=4, seed=0)
batches = FolderBatches(data, batch_size=2, seed=0, device=torch.device("cpu"), loaders=2)
try:
    for epoch in range(1_000_000):
        for images, labels in batches.epoch(epoch):
            print("a batch", flush=True)
except WorkerError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def session(leader: int) -> list[psutil.Process]:
    """The living processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.Error):
            continue
    return found


def gone(leader: int) -> bool:
    end = time.monotonic() + LIMIT_S
    while session(leader) and time.monotonic() < end:
        time.sleep(0.1)
    return not session(leader)


@pytest.fixture
def trainer(images: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that loads for ever, in a session of its own, and has got its first batch."""
    command = [sys.executable, "-c", PROGRAM, str(images)]
    with subprocess.Popen(
        command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "a batch\n"
        yield process
        for left in session(process.pid):
            left.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_trainer_is_killed_no_process_of_its_session_stays(
    trainer: subprocess.Popen[str], how: signal.Signals
) -> None:
    assert len(session(trainer.pid)) >= 4, "the trainer, its fork server and two loading processes"
    trainer.send_signal(how)
    trainer.wait(LIMIT_S)
    assert gone(trainer.pid)


def test_a_loading_process_that_dies_is_one_sentence(images: Path) -> None:
    data = read("imagenet", images, validation=4, seed=0)
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    many = type(data)(
        data.name, data.labels, data.train, data.validation, data.test.take([0] * 6000), size=8, resize=10
    )
    batches = evaluation_batches(many, "test", device=torch.device("cpu"), loaders=2)
    next(batches)
    for server in psutil.Process().children():
        for loader in server.children():
            if loader.pid not in before:
                loader.kill()
    with pytest.raises(WorkerError, match=r"a loading process ended \(DataLoader worker \(pid.* --resume"):
        list(batches)


def test_a_loading_process_that_hangs_without_dying_is_one_sentence_and_killed(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, it answers no signal but SIGKILL, as one that waits for a dead network disk."""
    data = read("imagenet", images, validation=4, seed=0)
    many = type(data)(
        data.name, data.labels, data.train, data.validation, data.test.take([0] * 6000), size=8, resize=10
    )
    before = set(psutil.Process().children(recursive=True))
    batches = evaluation_batches(many, "test", device=torch.device("cpu"), loaders=2)
    next(batches)
    loaders = [
        loader
        for server in psutil.Process().children()
        for loader in server.children()
        if loader not in before
    ]
    for loader in loaders:
        loader.suspend()
    monkeypatch.setattr(loading_process, "STALL_SECONDS", 1.0)
    with pytest.raises(WorkerError, match=r"gave no batch for 1 s: .* --resume, or .*data\.workers=0"):
        list(batches)
    assert len(loaders) == 2
    assert psutil.wait_procs(loaders, LIMIT_S)[1] == []


@pytest.mark.parametrize(("loaders", "enough"), [(1, 3), (2, 5)])
def test_each_loading_process_prepares_two_batches_ahead_of_the_one_in_use(loaders: int, enough: int) -> None:
    check_shared_memory(MIB, loaders, free=enough * MIB)
    said = rf"has {enough - 1} MiB free, {loaders} loading .* need {enough} MiB: enlarge .*data.workers=0"
    with pytest.raises(WorkerError, match=said):
        check_shared_memory(MIB, loaders, free=(enough - 1) * MIB)


def test_every_training_process_of_the_machine_has_its_own_loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(WorkerError, match="8 loading processes need 17 MiB"):
        check_shared_memory(MIB, 2, free=16 * MIB)


def test_a_system_without_dev_shm_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loading_process, "SHARED_MEMORY", tmp_path / "none")
    check_shared_memory(2**50, 8)


@pytest.mark.parametrize("size", ["1m", "64k"])
def test_small_shared_memory_is_said_before_the_first_batch(images: Path, size: str) -> None:
    command = [sys.executable, "-c", PROGRAM, str(images)]
    done = run_on_small_disk("/dev/shm", size, command, cwd=ROOT, env=ENVIRONMENT)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "/dev/shm has" in line
    assert "--set data.workers=0" in line


def test_a_batch_that_shared_memory_cannot_hold_is_an_error_of_its_own(
    images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may fill /dev/shm while training goes on."""

    def full(tensor: Any) -> Any:
        raise RuntimeError("unable to allocate shared memory(shm)")

    monkeypatch.setattr("downshift.trainer.data.image_loader.share", full)
    data = read("imagenet", images, validation=4, seed=0)
    with pytest.raises(WorkerError, match=r"no shared memory is left \(unable to allocate"):
        next(evaluation_batches(data, "test", device=torch.device("cpu"), loaders=0))
