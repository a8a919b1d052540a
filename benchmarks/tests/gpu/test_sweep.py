"""The GPU's experiment, on the CPU: the same code path, at tiny sizes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from benchmarks.gpu import sweep
from benchmarks.gpu.placement import HOST, memory
from benchmarks.harness.report import load
from downshift.models.artifact import read, write
from downshift.runtime.gpu.driver import answers
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def artifact(tmp_path: Path) -> str:
    write(tmp_path / "tiny.onnx", tiny_artifact())
    return str(tmp_path / "tiny.onnx")


def test_every_sub_net_is_measured_at_every_batch_size_and_beside_a_job(
    artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [artifact, "--device", "cpu", "--masks", "uniform", "--batches", "1", "4", "--seconds", "4"]
    assert sweep.main([*arguments, "--out", str(tmp_path / "out"), "--cache", str(tmp_path)]) == 0
    rows = load(tmp_path / "out" / "sweep.csv", sweep.Row)
    assert {(row.subnet, row.batch) for row in rows} == {(s, b) for s in ("s0", "s1", "s2") for b in (1, 4)}
    assert {(row.network, row.masks, row.engine) for row in rows} == {
        ("tiny", "trained", "device-path-on-cpu")
    }
    assert all(row.switching_p99 >= row.switching_p50 > 0.0 and row.repeated_p50 > 0.0 for row in rows)
    page = (tmp_path / "out" / "sweep.md").read_text()
    for phase in ("alone", "beside the job", "alone again"):
        assert len(re.findall(rf"^\| {phase} \| s", page, re.MULTILINE)) == 1, phase
    assert "Not measured for want of time: nothing." in " ".join(page.split())


def test_too_little_time_for_a_single_cell_is_said(
    artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [artifact, "--device", "cpu", "--masks", "uniform", "--batches", "1", "--seconds", "0"]
    assert sweep.main([*arguments, "--out", str(tmp_path / "out"), "--cache", str(tmp_path)]) == 2
    assert "--seconds 0: no cell was measured" in capsys.readouterr().err


@pytest.mark.parametrize("masks", sweep.PATTERNS)
def test_every_pattern_has_a_random_artifact_whose_masks_obey_it(masks: str, tmp_path: Path) -> None:
    arguments = ["cifar-resnet20", "--masks", masks, "--prepare", "--cache", str(tmp_path)]
    assert sweep.main(arguments) == 0
    (file,) = tmp_path.glob("*.onnx")
    manifest = read(file).manifest
    wanted = {"uniform": "unstructured"}.get(masks, masks)
    assert {str(subnet.pattern) for subnet in manifest.subnets} == {wanted}


@pytest.mark.skipif(answers(), reason="there is a GPU")
def test_without_a_gpu_the_remedy_is_one_line(
    artifact: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main([artifact, "--out", str(tmp_path / "out"), "--cache", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: no GPU engine works on cuda:0: see downshift doctor")


def test_memory_of_the_host_is_this_processs() -> None:
    assert memory(HOST) > 2**20
