"""Every exported sub-net is taken by the tools that people put ONNX files into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from downshift.models.materialize import materialize
from downshift.models.spec import InputSpec
from downshift.models.supernet import LayerRule, Supernet
from tests.trainer.small import CHANNELS, SIDE, noise, small_recipe
from tests.trainer.test_export import FAMILIES, SIDES, calibrated, exported, sparse

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

NEWEST_IR, NEWEST_OPSET = 9, 19  # what onnxruntime 1.16 reads
SUBNETS = ("s30", "s50")


@pytest.fixture(scope="module", params=FAMILIES)
def subnets(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The exported sub-nets of one family of networks, as files."""
    torch.manual_seed(0)
    family: str = request.param
    side = SIDES.get(family, SIDE)
    supernet = sparse(Supernet(FAMILIES[family](), 2, rule=LayerRule(depthwise=True)), (0.7, 0.5))
    supernet = calibrated(supernet, noise(32, CHANNELS, side, side, seed=1))
    image = InputSpec("image", CHANNELS, side, side, (0.5,) * 3, (0.25,) * 3)
    found = exported(supernet, small_recipe(subnets={"sparsities": [0.3, 0.5]}), image)
    folder = tmp_path_factory.mktemp(family)
    for name in SUBNETS:
        (folder / f"{name}.onnx").write_bytes(materialize(found, name).SerializeToString())
    return [folder / f"{name}.onnx" for name in SUBNETS]


def images_for(path: Path, count: int = 4) -> NDArray[np.float32]:
    sizes = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1:]
    return noise(count, *(size.dim_value for size in sizes), seed=2).numpy()


def logits(path: Path) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"image": images_for(path)})[0])


class Images(CalibrationDataReader):  # type: ignore[misc]
    """A few batches to calibrate on."""

    def __init__(self, path: Path) -> None:
        self.batches = iter(np.split(images_for(path, 8), 4))

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        """The next input, None at the end."""
        batch = next(self.batches, None)
        return None if batch is None else {"image": batch}


def assert_near(quantised: Path, path: Path) -> None:
    """Eight bits change the logits a little: by far less than they differ among each other."""
    exact = logits(path)
    assert np.abs(logits(quantised) - exact).max() < 0.5 * max(exact.max() - exact.min(), 1e-3)


def test_the_checker_and_strict_shape_inference_accept_it(subnets: list[Path]) -> None:
    for path in subnets:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        names = {value.name for value in inferred.graph.value_info}
        assert {output for node in model.graph.node[:-1] for output in node.output} <= names


def test_its_versions_are_those_that_onnxruntime_1_16_reads(subnets: list[Path]) -> None:
    for path in subnets:
        model = onnx.load(path)
        assert [entry.domain for entry in model.opset_import] == [""]
        assert model.ir_version <= NEWEST_IR
        assert model.opset_import[0].version <= NEWEST_OPSET
        assert not model.graph.value_info


def test_quantize_dynamic_takes_it(subnets: list[Path], tmp_path: Path) -> None:
    for path in subnets:
        quantize_dynamic(path, tmp_path / path.name, weight_type=QuantType.QUInt8)
        assert_near(tmp_path / path.name, path)


def test_quantize_static_takes_it_with_and_without_preprocessing(subnets: list[Path], tmp_path: Path) -> None:
    for path in subnets:
        quant_pre_process(path, tmp_path / "prepared.onnx")
        for source in (path, tmp_path / "prepared.onnx"):
            quantize_static(source, tmp_path / "static.onnx", Images(path), per_channel=True)
            assert_near(tmp_path / "static.onnx", path)


def test_openvino_computes_the_same(subnets: list[Path]) -> None:
    openvino = pytest.importorskip("openvino", reason="pip install -e '.[openvino]'")
    for path in subnets:
        # By default it computes in bfloat16 on processors that do.
        compiled = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        found = compiled(images_for(path))[0]
        np.testing.assert_allclose(found, logits(path), atol=1e-3)


def test_onnxsim_simplifies_it(subnets: list[Path], tmp_path: Path) -> None:
    onnxsim = pytest.importorskip("onnxsim", reason="pip install onnxsim")
    for path in subnets:
        simplified, right = onnxsim.simplify(onnx.load(path))
        assert right
        onnx.save(simplified, tmp_path / path.name)
        np.testing.assert_allclose(logits(tmp_path / path.name), logits(path), atol=1e-4)
