"""Data-parallel training: one process is a world of one, two under torchrun stay the same network."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

from downshift.models import artifact
from downshift.trainer import checkpoint, recipe_toml
from downshift.trainer.parallel import Workers
from downshift.trainer.run import CHECKPOINT
from tests.trainer.small import small_recipe

ROOT = Path(__file__).parents[2]
PROGRAM = """
import hashlib, json, os, sys
from pathlib import Path
import torch
from downshift.trainer import recipe_toml
from downshift.trainer.parallel import Workers
from downshift.trainer.train import train

file, folder, facts = map(Path, sys.argv[1:])
cpu = torch.device("cpu")
workers = Workers.join(cpu)
tensors = [torch.full((2,), float(workers.rank)), torch.full((1, 3), 10.0 * workers.rank)]
workers.average(tensors)
outcome = train(recipe_toml.load(str(file)), folder, data_dir=folder, device="cpu")
digest = hashlib.sha256()
for tensor in outcome.supernet.state_dict().values():
    digest.update(tensor.contiguous().numpy().tobytes())
report = {"mean": [t.mean().item() for t in tensors], "sha256": digest.hexdigest(), "test": outcome.test}
(facts / f"{workers.rank}.json").write_text(json.dumps(report))
"""


def test_a_run_without_torchrun_is_a_world_of_one() -> None:
    workers = Workers.join(torch.device("cpu"))
    assert workers == Workers(0, 1)
    assert workers.leads
    tensor = torch.ones(2)
    workers.average([tensor])
    assert tensor.tolist() == [1, 1]


def test_the_shares_of_all_workers_are_the_batch() -> None:
    batch = torch.arange(7)
    shares = [Workers(rank, 3).share(batch) for rank in range(3)]
    assert [share.tolist() for share in shares] == [[0, 3, 6], [1, 4], [2, 5]]


def torchrun(folder: Path, program: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    """The program, in two processes that torchrun has started and that have ended."""
    (folder / "program.py").write_text(program)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*launcher, str(folder / "program.py"), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


LOSING = """
import os, sys
from pathlib import Path
import torch
from downshift.trainer.errors import WorkerError
from downshift.trainer.parallel import Workers

workers = Workers.join(torch.device("cpu"))
workers.average([torch.ones(1)])
if workers.rank:
    os._exit(0)  # which torchrun takes for success, and leaves the other alone
try:
    for _ in range(1000):
        workers.average([torch.ones(1)])
except WorkerError as error:
    Path(sys.argv[1]).write_text(str(error))
"""


def test_a_training_process_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    ended = torchrun(tmp_path, LOSING, tmp_path / "said")
    assert (tmp_path / "said").exists(), ended.stderr
    (line,) = (tmp_path / "said").read_text().splitlines()
    assert line.startswith("another training process ended or hangs")
    assert "--resume" in line


def test_two_workers_train_one_network_and_only_the_first_writes(tmp_path: Path) -> None:
    recipe = small_recipe(
        run={"epochs": 8, "batch_size": 512, "recalibrate": 1, "evaluate_every": 8},
        subnets={"sparsities": [0.5, 0.8, 0.9]},
    )
    (tmp_path / "recipe.toml").write_text(recipe_toml.dumps(recipe))
    ended = torchrun(tmp_path, PROGRAM, tmp_path / "recipe.toml", tmp_path / "run", tmp_path)
    assert ended.returncode == 0, ended.stderr
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["mean"] == second["mean"] == [0.5, 5.0]
    assert first["sha256"] == second["sha256"]
    assert first["test"] == second["test"]
    assert checkpoint.load(tmp_path / "run" / CHECKPOINT).step == 16
    manifest = artifact.read(tmp_path / "run" / "model.onnx").manifest
    assert manifest.names == ("s50", "s80", "s90")
