"""`downshift export --precision int8` of every network: artifacts of random weights, on every runtime."""

from __future__ import annotations

import contextlib

import numpy as np
import onnxruntime
import pytest
import torch

from downshift.models.materialize import materialize
from downshift.models.pixels import normalise
from downshift.models.spec import InputSpec
from downshift.models.supernet import LayerRule, Supernet
from downshift.runtime.engines.exported import qdq_model
from downshift.runtime.lowering import integer_reference
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.lower import lower
from downshift.runtime.profiling.calibration import LabelledImages, calibrate
from downshift.trainer.export import export
from tests.runtime.lowering.test_integer import TORCHVISION
from tests.runtime.lowering.test_networks import OURS, trained_looking
from tests.trainer.small import small_recipe


@pytest.mark.parametrize("name", [*OURS, *(f"torchvision/{one}" for one in TORCHVISION)])
def test_every_network_is_calibrated_and_exported_and_every_runtime_agrees(name: str) -> None:
    ours = not name.startswith("torchvision")
    supernet = Supernet(
        trained_looking(name, 0.25 if ours else 1.0), 1, rule=LayerRule(depthwise=True)
    ).eval()
    with torch.no_grad():
        for position, layer in enumerate(supernet.masked_layers.values()):
            kept = torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(position)) < 0.5
            layer.stack.assign([kept])
    image = InputSpec("image", 3, 32, 32, (0.5,) * 3, (0.25,) * 3)
    recipe = small_recipe(subnets={"sparsities": [0.5]})
    artifact = export(supernet, recipe, image, tuple("abcde"), dict.fromkeys(recipe.names, 0.5))
    pictures = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    made = calibrate(artifact, pictures, LabelledImages(pictures, np.zeros(4, np.int64)))
    [subnet] = made.manifest.subnets
    assert subnet.int8 is not None

    inputs = normalise(pictures.transpose(0, 3, 1, 2), image)
    plain, qdq = materialize(made, subnet.name), qdq_model(made, subnet.name)
    exact = _onnxruntime(plain.SerializeToString(), "image", inputs)
    kernels = integer_reference.run(integer(lower(plain), subnet.int8.ranges), inputs)
    found = {"kernels": kernels, "onnxruntime": _onnxruntime(qdq.SerializeToString(), "input", inputs)}
    with contextlib.suppress(ImportError):
        found["openvino"] = _openvino(qdq.SerializeToString(), inputs)
    for engine, logits in found.items():
        assert np.mean((logits - exact) ** 2) < 0.03 * np.var(exact), engine
    assert {node.op_type for node in qdq.graph.node} >= {"QuantizeLinear", "DequantizeLinear"}


def _onnxruntime(model: bytes, name: str, inputs: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {name: inputs})[0])


def _openvino(model: bytes, inputs: np.ndarray) -> np.ndarray:
    import openvino

    core = openvino.Core()
    compiled = core.compile_model(core.read_model(model, b""), "CPU", {"INFERENCE_NUM_THREADS": 1})
    return np.asarray(compiled([inputs])[0])
