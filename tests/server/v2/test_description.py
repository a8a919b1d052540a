from __future__ import annotations

from downshift.server.catalog import Model
from downshift.server.v2.description import model_config, model_metadata, server_metadata
from tests.server.doubles import ScriptedBackend

MODEL = Model("pets", "1", ScriptedBackend())


def test_the_server_says_its_name_and_extensions() -> None:
    assert server_metadata("0.1.0") == {
        "name": "downshift",
        "version": "0.1.0",
        "extensions": (
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "model_repository",
            "statistics",
        ),
    }


def test_metadata_names_the_tensors() -> None:
    assert model_metadata(MODEL) == {
        "name": "pets",
        "versions": ["1"],
        "platform": "downshift",
        "inputs": [
            {
                "name": "image",
                "datatype": "FP32",
                "shape": [-1, 3, 2, 2],
                "parameters": {
                    "datatypes": ["FP32", "FP16", "FP64", "UINT8"],
                    "uint8": "0 to 255; the server divides by 255, subtracts the mean and divides by the "
                    "deviation",
                },
            }
        ],
        "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 3]}],
    }


def test_the_configuration_is_triton_s_but_for_the_parameters() -> None:
    config = model_config(MODEL, 8)
    assert config.pop("parameters") == {
        "network": {"string_value": "scripted"},
        "sha256": {"string_value": "ab" * 32},
        "subnets": {"string_value": "s50,s90"},
        "sparsities": {"string_value": "0.5,0.9"},
    }
    assert config == {
        "name": "pets",
        "platform": "downshift",
        "backend": "downshift",
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": 8,
        "input": [{"name": "image", "data_type": "TYPE_FP32", "dims": (3, 2, 2)}],
        "output": [{"name": "logits", "data_type": "TYPE_FP32", "dims": [3]}],
        "instance_group": [{"name": "pets", "kind": "KIND_AUTO", "count": 1}],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
    }
