"""A damaged or hostile file is an `ArtifactError` that names the field, and never anything else."""

from __future__ import annotations

import json
import os
import pickle
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper

from downshift.models import manifest_json, plain_onnx
from downshift.models.artifact import pack, read, unpack
from downshift.models.errors import ArtifactError
from downshift.models.seal import seal
from tests.models.tiny_artifact import tiny_artifact, tiny_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Attack = Callable[[onnx.ModelProto], object]

LEVELS = pack(tiny_artifact(3, "levels"))
BITMAPS = pack(tiny_artifact(3, "bitmaps"))


def initializer(model: onnx.ModelProto, name: str) -> onnx.TensorProto:
    """The named tensor of the graph or of the stacks."""
    stack = model.training_info[0].initialization.initializer
    found: onnx.TensorProto = next(p for p in [*model.graph.initializer, *stack] if p.name == name)
    return found


def poke(name: str, index: int, value: float) -> Attack:
    """Overwrite one value of a tensor."""

    def attack(model: onnx.ModelProto) -> None:
        proto = initializer(model, name)
        values = plain_onnx.array(proto, name).copy()
        values.reshape(-1)[index] = value
        proto.raw_data = values.tobytes()

    return attack


def swap(name: str, array: Any) -> Attack:
    """Replace a tensor by another one of the same name."""
    return lambda model: initializer(model, name).CopyFrom(plain_onnx.tensor(name, array))


def claim(path: str, value: Any) -> Attack:
    """Change one value of the manifest."""

    def attack(model: onnx.ModelProto) -> None:
        manifest = json.loads(model.metadata_props[0].value)
        target = manifest
        *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
        for key in parents:
            target = target[key]
        target[last] = value
        model.metadata_props[0].value = json.dumps(manifest)

    return attack


def rename_layer(old: str, new: str) -> Attack:
    """Give a layer another name in the manifest and the stacks, though not in the graph."""

    def attack(model: onnx.ModelProto) -> None:
        claim("layers.0.weight", new)(model)
        initializer(model, f"downshift.levels/{old}").name = f"downshift.levels/{new}"

    return attack


def sealed_again(model: onnx.ModelProto) -> None:
    """Give the model the seal that its present content calls for, as a forger would."""
    manifest = manifest_json.loads(model.metadata_props[0].value)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.training_info[:]
    del plain.metadata_props[:]
    tensors = plain_onnx.arrays(model.graph.initializer, "")
    tensors |= plain_onnx.arrays(model.training_info[0].initialization.initializer, "")
    claim("sha256", seal(plain, tensors, manifest))(model)


def attacked(data: bytes, attack: Attack) -> onnx.ModelProto:
    model: onnx.ModelProto = onnx.ModelProto.FromString(data)
    attack(model)
    return model


def error_of(data: bytes) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        unpack(data)
    return caught.value


# What a file can declare that must be refused before anyone looks at the seal.
MALFORMED: dict[str, tuple[Attack, str, str]] = {
    "no manifest": (lambda m: m.ClearField("metadata_props"), "manifest", "plain ONNX model"),
    "two manifests": (lambda m: m.metadata_props.add().CopyFrom(m.metadata_props[0]), "manifest", "2 times"),
    "manifest is not JSON": (
        lambda m: setattr(m.metadata_props[0], "value", "{"),
        "manifest",
        "not the JSON of a manifest",
    ),
    "future schema": (claim("schema", 2), "manifest", "reads schema 1; upgrade downshift"),
    "no stacks": (lambda m: m.ClearField("training_info"), "stacks", "0 training_info"),
    "two stacks": (lambda m: m.training_info.add(), "stacks", "2 training_info"),
    "layer without levels": (
        lambda m: m.training_info[0].initialization.initializer.pop(0),
        "stack 'downshift.levels/conv.weight'",
        "is missing",
    ),
    "stack of no layer": (
        lambda m: m.training_info[0].initialization.initializer.append(plain_onnx.tensor("x", np.zeros(1))),
        "stack 'x'",
        "belongs to no layer",
    ),
    "layer that is not in the graph": (
        claim("layers.0.weight", "nothing"),
        "stack 'downshift.levels/nothing'",
        "is missing",
    ),
    "duplicate initializer": (
        lambda m: m.graph.initializer.append(m.graph.initializer[0]),
        "initializer 'conv.weight'",
        "listed twice",
    ),
    "nameless initializer": (lambda m: m.graph.initializer[0].ClearField("name"), "initializer", "named ''"),
    "external data": (
        lambda m: m.graph.initializer[0].MergeFrom(
            onnx.TensorProto(
                data_location=onnx.TensorProto.EXTERNAL,
                external_data=[onnx.StringStringEntryProto(key="location", value="../../etc/passwd")],
            )
        ),
        "initializer 'conv.weight'",
        "points to another file",
    ),
    "external data that is not marked": (
        lambda m: m.graph.initializer[0].external_data.add(key="location", value="/etc/passwd"),
        "initializer 'conv.weight'",
        "points to another file",
    ),
    "external data in a node": (
        lambda m: m.graph.node[0].attribute.append(
            onnx.AttributeProto(
                name="x",
                type=onnx.AttributeProto.TENSOR,
                t=onnx.TensorProto(data_type=1, data_location=onnx.TensorProto.EXTERNAL),
            )
        ),
        "node 0 'Conv'",
        "points to another file",
    ),
    "bytes do not match the shape": (
        lambda m: setattr(m.graph.initializer[0], "raw_data", b"1234"),
        "initializer 'conv.weight'",
        "holds 4 bytes, its shape [4, 3, 3, 3] of float32 needs 432",
    ),
    "gigantic shape": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**62),
        "initializer 'conv.weight'",
        "larger than any file",
    ),
    "gigantic empty shape": (
        lambda m: m.graph.initializer.append(onnx.TensorProto(name="x", data_type=1, dims=[0, 2**62, 2**62])),
        "initializer 'x'",
        "larger than any file",
    ),
    "negative shape": (
        lambda m: m.graph.initializer[0].dims.__setitem__(0, -4),
        "initializer 'conv.weight'",
        "is not a shape",
    ),
    "hundred dimensions": (
        lambda m: m.graph.initializer.append(onnx.TensorProto(name="x", data_type=1, dims=[1] * 100)),
        "initializer 'x'",
        "is not a shape",
    ),
    "strings in a tensor": (
        lambda m: m.graph.initializer.append(onnx.TensorProto(name="x", data_type=8, string_data=[b"a"])),
        "initializer 'x'",
        "uses string_data",
    ),
    "unknown data type": (
        lambda m: setattr(m.graph.initializer[0], "data_type", 99),
        "initializer 'conv.weight'",
        "data type 99",
    ),
    "second values": (
        lambda m: m.graph.initializer[0].float_data.append(1.0),
        "initializer 'conv.weight'",
        "uses float_data",
    ),
    "local function": (lambda m: m.functions.add(name="f"), "functions", "not supported"),
    "sparse initializer": (lambda m: m.graph.sparse_initializer.add(), "graph", "sparse initializers"),
    "custom operator": (lambda m: setattr(m.graph.node[2], "domain", "evil"), "node 2 'Relu'", "'evil'"),
    "custom operator set": (lambda m: m.opset_import.add(domain="evil", version=1), "opset_import", "'evil'"),
    "sub-graph": (
        lambda m: m.graph.node[2].attribute.append(helper.make_attribute("body", onnx.GraphProto(name="g"))),
        "node 2 'Relu'",
        "holds a sub-graph",
    ),
    "altered weight": (poke("conv.weight", 0, 9.0), "manifest.sha256", "was altered"),
    "altered level": (poke("downshift.levels/fc.weight", 0, 0), "manifest.sha256", "was altered"),
    "altered norm": (poke("downshift.norm/bn.weight", 0, 9.0), "manifest.sha256", "was altered"),
    "altered label": (claim("labels.0", "dog"), "manifest.sha256", "was altered"),
    "altered node": (
        lambda m: setattr(m.graph.node[2], "op_type", "Sigmoid"),
        "manifest.sha256",
        "was altered",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_file_is_refused_by_the_name_of_its_field(name: str) -> None:
    attack, field, problem = MALFORMED[name]
    error = error_of(attacked(LEVELS, attack).SerializeToString())
    assert error.field == field
    assert problem in str(error)


# What a forger who can compute the seal may still try.
FORGED: dict[str, tuple[bytes, Attack, str, str]] = {
    "level above the sub-nets": (
        pack(tiny_artifact(2)),
        poke("downshift.levels/fc.weight", 0, 0xFF),
        "tensor 'downshift.levels/fc.weight'",
        "level 3 is above the 2 sub-nets",
    ),
    "set padding": (
        pack(tiny_artifact(1)),
        poke("downshift.levels/fc.weight", 1, 0xFF),
        "tensor 'downshift.levels/fc.weight'",
        "after the last of 12 values",
    ),
    "levels of another length": (
        LEVELS,
        swap("downshift.levels/fc.weight", np.zeros(9, np.uint8)),
        "tensor 'downshift.levels/fc.weight'",
        "is uint8 [9], the manifest needs uint8 [3]",
    ),
    "levels of another type": (
        LEVELS,
        swap("downshift.levels/fc.weight", np.zeros(3, np.int8)),
        "tensor 'downshift.levels/fc.weight'",
        "is int8 [3]",
    ),
    "weight outside the mask": (
        LEVELS,
        swap("conv.weight", np.ones((4, 3, 3, 3), np.float32)),
        "tensor 'conv.weight'",
        "not zero where the densest sub-net's mask is",
    ),
    "bitmap padding": (
        BITMAPS,
        poke("downshift.bitmaps/fc.weight", 1, 0xFF),
        "tensor 'downshift.bitmaps/fc.weight'",
        "after the last of 12 values",
    ),
    "too many weights of the rest": (
        BITMAPS,
        swap("downshift.rest/fc.weight", np.zeros(40, np.float32)),
        "tensor 'downshift.rest/fc.weight'",
        "is float32 [40], the manifest needs",
    ),
    "infinite weight of the rest": (
        BITMAPS,
        poke("downshift.rest/conv.weight", 0, np.inf),
        "tensor 'downshift.rest/conv.weight'",
        "holds NaN or infinity",
    ),
    "NaN weight": (LEVELS, poke("fc.weight", 1, np.nan), "tensor 'fc.weight'", "holds NaN or infinity"),
    "infinite bias": (LEVELS, poke("fc.bias", 1, -np.inf), "tensor 'fc.bias'", "holds NaN or infinity"),
    "NaN norm": (
        LEVELS,
        poke("downshift.norm/bn.weight", 1, np.nan),
        "tensor 'downshift.norm/bn.weight'",
        "holds NaN or infinity",
    ),
    "negative variance of the densest": (
        LEVELS,
        poke("bn.running_var", 0, -1),
        "tensor 'downshift.norm/bn.weight'",
        "a variance is -1.0",
    ),
    "negative variance of another": (
        LEVELS,
        poke("downshift.norm/bn.weight", -1, -1e-9),
        "tensor 'downshift.norm/bn.weight'",
        "none can be negative",
    ),
    "layer of another shape": (
        LEVELS,
        claim("layers.1.shape", [4, 3]),
        "manifest.layers[1]",
        "'fc.weight' is float32 [3, 4], not float32 [4, 3]",
    ),
    "gigantic layer": (
        LEVELS,
        claim("layers.1.shape", [2**31, 2**31]),
        "manifest.layers[1]",
        "is float32 [3, 4]",
    ),
    "weight that is a norm as well": (
        LEVELS,
        claim("norms.0.bias", "fc.weight"),
        "manifest.norms[0]",
        "shares initializer 'fc.weight' with layers[1]",
    ),
    "layer that is not in the graph": (
        LEVELS,
        rename_layer("conv.weight", "nothing"),
        "manifest.layers[0]",
        "the graph has no initializer 'nothing'",
    ),
    "norm that is not in the graph": (
        LEVELS,
        claim("norms.0.bias", "nothing"),
        "manifest.norms[0]",
        "the graph has no initializer 'nothing'",
    ),
    "norm of another length": (LEVELS, claim("norms.0.channels", 5), "manifest.norms[0]", "not float32 [5]"),
    "invented non-zeros": (
        LEVELS,
        claim("subnets.2.nonzeros", 1),
        "manifest.subnets[2].nonzeros",
        "is 1, the masks",
    ),
    "invented sparsity": (
        LEVELS,
        claim("subnets.2.sparsity", 0.999),
        "manifest.subnets[2].sparsity",
        "is 0.999, the masks remove",
    ),
    "another input": (
        LEVELS,
        claim("input.name", "x"),
        "manifest.input.name",
        "the graph's inputs are ['image']",
    ),
    "another input size": (LEVELS, claim("input.width", 7), "manifest.input", "the graph takes [0, 3, 5, 5]"),
    "fixed batch size": (
        LEVELS,
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 1),
        "manifest.input",
        "the graph takes [1, 3, 5, 5]",
    ),
    "another output": (LEVELS, claim("output", "x"), "manifest.output", "the graph's outputs are ['logits']"),
    "too few labels": (
        LEVELS,
        claim("labels", ["cat"]),
        "manifest.labels",
        "are 1, the graph's output is [0, 3]",
    ),
    "unknown operator": (
        LEVELS,
        lambda m: setattr(m.graph.node[2], "op_type", "Launch"),
        "graph",
        "is not valid ONNX",
    ),
    "dangling edge": (LEVELS, lambda m: m.graph.node.pop(1), "graph", "is not valid ONNX"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_seal_does_not_help(name: str) -> None:
    data, attack, field, problem = FORGED[name]
    model = attacked(data, attack)
    sealed_again(model)
    error = error_of(model.SerializeToString())
    assert error.field == field
    assert problem in str(error)


def nested(depth: int) -> bytes:
    """A model whose node holds a graph whose node holds a graph, and so on."""

    def field(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    content = b""
    for _ in range(depth):
        content = field(1, field(5, field(6, content)))
    return field(7, content)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"hello, I am not a model\n", "not an ONNX model"),
        (pickle.dumps({"weights": [1.0]}), "not an ONNX model"),
        (b"PK\x03\x04" + bytes(200), "not an ONNX model"),
        (nested(5000), "not an ONNX model"),
        (LEVELS[: len(LEVELS) // 2], "not an ONNX model or was cut short"),
        (tiny_model().SerializeToString(), "plain ONNX model"),
    ],
    ids=["empty", "text", "pickle", "zip", "deep", "half", "plain"],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match=re.escape(problem)) as refused:
        read(tmp_path / "model.onnx")
    assert str(refused.value).startswith(f"{tmp_path / 'model.onnx'}: artifact ")


def test_a_path_that_is_no_regular_file_is_refused_without_opening_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(ArtifactError, match="is not a regular file"):
            read(path)
    with pytest.raises(ArtifactError, match=r"file: '.*missing.onnx' does not exist"):
        read(tmp_path / "missing.onnx")
    with pytest.raises(ArtifactError, match=r"cannot read 'a.x00b'"):
        read("a\0b")


def test_a_file_larger_than_onnx_can_be_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ArtifactError, match="1099511627776 bytes; an ONNX file ends at 2 GiB"):
        read(tmp_path / "model.onnx")


def test_every_truncation_is_refused() -> None:
    for length in range(len(LEVELS)):
        with pytest.raises(ArtifactError):
            unpack(LEVELS[:length])


def refused_or_equal(damaged: bytes, original: bytes) -> None:
    try:
        artifact = unpack(damaged)
    except ArtifactError:
        return
    assert pack(artifact) == original


@pytest.mark.parametrize("original", [LEVELS, BITMAPS], ids=["levels", "bitmaps"])
def test_every_inverted_byte_is_refused_or_harmless(original: bytes) -> None:
    for place in range(len(original)):
        damaged = bytearray(original)
        damaged[place] ^= 0xFF
        refused_or_equal(bytes(damaged), original)


@given(data=st.data(), original=st.sampled_from([LEVELS, BITMAPS]))
@settings(max_examples=300)
def test_any_flipped_bits_and_moved_bytes_are_refused_or_harmless(
    data: st.DataObject, original: bytes
) -> None:
    damaged = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(damaged) - 1))
        match data.draw(st.sampled_from(["flip", "delete", "insert"])):
            case "flip":
                damaged[place] ^= 1 << data.draw(st.integers(0, 7))
            case "delete":
                del damaged[place : place + data.draw(st.integers(1, 9))]
            case "insert":
                damaged[place:place] = data.draw(st.binary(max_size=9))
    refused_or_equal(bytes(damaged), original)
