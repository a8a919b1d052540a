"""Metadata and configuration responses of the V2 protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from downshift.server.v2.datatype import DATATYPES, FP32

if TYPE_CHECKING:
    from downshift.models.spec import Manifest
    from downshift.server.catalog import Model

_PIXELS = "0 to 255; the server divides by 255, subtracts the mean and divides by the deviation"
PLATFORM = "downshift"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics")


def server_metadata(version: str) -> dict[str, Any]:
    """The response of `GET /v2`."""
    return {"name": "downshift", "version": version, "extensions": EXTENSIONS}


def model_metadata(model: Model) -> dict[str, Any]:
    """The response of `GET /v2/models/{model}`."""
    manifest = model.backend.manifest
    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": [
            {
                "name": manifest.input.name,
                "datatype": FP32.name,
                "shape": [-1, *manifest.input.shape],
                "parameters": {"datatypes": list(DATATYPES), "uint8": _PIXELS},
            }
        ],
        "outputs": [{"name": manifest.output, "datatype": FP32.name, "shape": [-1, len(manifest.labels)]}],
    }


def model_config(model: Model, max_batch: int) -> dict[str, Any]:
    """What `GET /v2/models/{model}/config` answers: the fields of Triton's `ModelConfig` that apply here.

    max_batch: examples in one request. The parameters list the sub-nets in every precision, densest first.
    """
    manifest = model.backend.manifest
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"latest": {"num_versions": 1}},
        "max_batch_size": max_batch,
        "input": [{"name": manifest.input.name, "data_type": "TYPE_FP32", "dims": manifest.input.shape}],
        "output": [{"name": manifest.output, "data_type": "TYPE_FP32", "dims": [len(manifest.labels)]}],
        "instance_group": [{"name": model.name, "kind": "KIND_AUTO", "count": 1}],
        "dynamic_batching": {"preferred_batch_size": [], "max_queue_delay_microseconds": 0},
        "parameters": _parameters(manifest),
    }


def _parameters(manifest: Manifest) -> dict[str, dict[str, str]]:
    values = {
        "network": manifest.network,
        "sha256": manifest.sha256,
        "subnets": ",".join(point.name for point in manifest.points),
        "sparsities": ",".join(f"{point.sparsity:.6g}" for point in manifest.points),
    }
    return {name: {"string_value": value} for name, value in values.items()}
