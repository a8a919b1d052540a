"""A tiny artifact built in code: convolution, BatchNorm, ReLU, global average pool, linear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import helper

from downshift.models.encode import encode
from downshift.models.pattern import Unstructured
from downshift.models.spec import InputSpec, LayerSpec, Manifest, NormSpec, Provenance, SubnetSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from downshift.models.artifact import Artifact
    from downshift.models.spec import MaskEncoding

CHANNELS, SIDE, CLASSES, WIDTH = 3, 5, 3, 4
LAYERS = (LayerSpec("conv.weight", (WIDTH, CHANNELS, 3, 3)), LayerSpec("fc.weight", (CLASSES, WIDTH)))
NORMS = (NormSpec("bn.weight", "bn.bias", "bn.running_mean", "bn.running_var", WIDTH),)
EPSILON = 1e-5


def tiny_model(seed: int = 0) -> onnx.ModelProto:
    """Plain ONNX with random weights: input `image` [N, 3, 5, 5], output `logits` [N, 3]."""
    rng = np.random.default_rng(seed)
    values = {
        "conv.weight": rng.standard_normal(LAYERS[0].shape),
        "bn.weight": rng.uniform(0.5, 1.5, WIDTH),
        "bn.bias": rng.standard_normal(WIDTH),
        "bn.running_mean": rng.standard_normal(WIDTH),
        "bn.running_var": rng.uniform(0.5, 1.5, WIDTH),
        "fc.weight": rng.standard_normal(LAYERS[1].shape),
        "fc.bias": rng.standard_normal(CLASSES),
    }
    bn = ["bn.weight", "bn.bias", "bn.running_mean", "bn.running_var"]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "conv.weight"], ["c"], name="conv", pads=[1, 1, 1, 1]),
            helper.make_node("BatchNormalization", ["c", *bn], ["b"], name="bn", epsilon=EPSILON),
            helper.make_node("Relu", ["b"], ["r"], name="relu"),
            helper.make_node("GlobalAveragePool", ["r"], ["p"], name="pool"),
            helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
            helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], name="fc", transB=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", CHANNELS, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", CLASSES])],
        [onnx.numpy_helper.from_array(value.astype(np.float32), name) for name, value in values.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])


def tiny_manifest(masks: dict[str, NDArray[np.bool_]], encoding: MaskEncoding = "levels") -> Manifest:
    """The manifest of `tiny_model` with these masks [S, *shape]; sub-nets are called a, b, c, ..."""
    kept = [sum(int(stack[i].sum()) for stack in masks.values()) for i in range(len(masks["fc.weight"]))]
    total = sum(layer.size for layer in LAYERS)
    return Manifest(
        network="tiny",
        subnets=tuple(
            SubnetSpec(f"s{index}", max(0.0, 1 - count / total), Unstructured(), None, 2 * count, count)
            for index, count in enumerate(kept)
        ),
        input=InputSpec("image", CHANNELS, SIDE, SIDE, (0.5, 0.25, 0.125), (0.5, 0.5, 1.0)),
        output="logits",
        labels=("cat", "dog", "bird"),
        masks=encoding,
        layers=LAYERS,
        norms=NORMS,
        provenance=Provenance(
            {"epochs": 2, "nested": {"rates": [0.5, None]}}, 7, "none", {"numpy": "2"}, "", True
        ),
    )


def tiny_masks(
    subnets: int, encoding: MaskEncoding = "levels", seed: int = 0
) -> dict[str, NDArray[np.bool_]]:
    """Random masks [S, *shape] of every layer, the densest first and keeping all but a few weights."""
    rng = np.random.default_rng(seed)
    densities = np.linspace(0.9, 0.2, subnets)
    while True:
        masks = {
            layer.weight: np.stack([density > rng.random(layer.shape) for density in densities])
            for layer in LAYERS
        }
        if encoding == "levels":
            masks = {name: np.logical_and.accumulate(stack) for name, stack in masks.items()}
        counts = sum(stack.reshape(subnets, -1).sum(axis=1) for stack in masks.values())
        if all(np.diff(counts) <= 0) and counts[-1] > 0:
            return masks


def tiny_norms(subnets: int, seed: int = 0) -> list[NDArray[np.float32]]:
    """Random BatchNorm stacks [S, 4, channels]."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.5, 1.5, (subnets, 4, norm.channels)).astype(np.float32) for norm in NORMS]


def tiny_artifact(
    subnets: int = 3, encoding: MaskEncoding = "levels", seed: int = 0, **manifest: Any
) -> Artifact:
    """A sealed artifact of random tensors; `manifest` replaces fields of its manifest."""
    masks = tiny_masks(subnets, encoding, seed)
    spec = replace(tiny_manifest(masks, encoding), **manifest)
    return encode(tiny_model(seed), spec, masks, tiny_norms(subnets, seed))
