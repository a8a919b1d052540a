"""Bad input to int8 is one sentence and exit 2: images, ranges, networks and sub-nets that do not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx
import pytest
from typer.testing import CliRunner

from downshift.cli import main
from downshift.models import artifact as artifacts
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.quantized import quantized_artifact

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.models.artifact import Artifact


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def refused(*arguments: str) -> str:
    """The one sentence that a command says before it exits with 2."""
    result = CliRunner().invoke(main.app, arguments)
    assert result.exit_code == 2, result.output
    assert not result.stdout
    return " ".join(result.stderr.replace("│", " ").split())


def exported(path: Path) -> str:
    return refused(
        "export", str(path), "--subnet", "s0", "--precision", "int8", "-o", str(path.with_name("out.onnx"))
    )


def with_ranges(artifact: Artifact, ranges: dict[str, tuple[float, float]]) -> Artifact:
    first, *others = artifact.manifest.subnets
    assert first.int8 is not None
    changed = replace(first, int8=replace(first.int8, ranges=ranges))
    return replace(artifact, manifest=replace(artifact.manifest, subnets=(changed, *others)))


def test_a_calibration_folder_without_images_is_named(tmp_path: Path) -> None:
    artifacts.write(tmp_path / "model.onnx", tiny_artifact())
    empty = tmp_path / "empty"
    empty.mkdir()
    said = refused(
        "quantize", str(tmp_path / "model.onnx"), "--data", str(empty), "--out", str(tmp_path / "out.onnx")
    )
    assert "empty" in said
    assert "image" in said
    assert not (tmp_path / "out.onnx").exists()


def test_int8_where_no_sub_net_has_it_names_the_remedy(tmp_path: Path) -> None:
    artifacts.write(tmp_path / "model.onnx", tiny_artifact())
    assert "sub-net s0 has no int8: run `downshift quantize`" in exported(tmp_path / "model.onnx")


def test_ranges_of_another_network_are_refused_with_the_tensor_that_has_none(tmp_path: Path) -> None:
    artifacts.write(tmp_path / "model.onnx", with_ranges(quantized_artifact(), {"of another": (0.0, 1.0)}))
    said = exported(tmp_path / "model.onnx")
    assert "no activation range for tensor 'image': run `downshift quantize` again" in said


def test_an_empty_range_of_the_input_is_refused(tmp_path: Path) -> None:
    made = quantized_artifact()
    int8 = made.manifest.subnets[0].int8
    assert int8 is not None
    artifacts.write(tmp_path / "model.onnx", with_ranges(made, {**int8.ranges, "image": (0.0, 0.0)}))
    assert "activation range (0.0, 0.0) of 'image'" in exported(tmp_path / "model.onnx")


@pytest.mark.parametrize("bad", ["NaN", "Infinity", "1e400", '"wide"'])
def test_a_range_that_is_no_finite_number_is_refused_when_the_file_is_read(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "model.onnx"
    artifacts.write(path, quantized_artifact())
    model = onnx.load(path)
    [prop] = [one for one in model.metadata_props if '"ranges"' in one.value]
    manifest = json.loads(prop.value)
    ranges = manifest["subnets"][0]["int8"]["ranges"]
    ranges["image"] = [0.0, "BAD"]
    prop.value = json.dumps(manifest).replace('"BAD"', bad)
    onnx.save(model, path)
    said = exported(path)
    assert "image" in said or bad in said
