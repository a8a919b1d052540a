"""Golden options, and that onnxruntime knows every name among them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from downshift.runtime.engines.provider_options import CPU, CUDA, TENSORRT, ProviderChoice, providers
from downshift.runtime.gpu.libraries import provider_file

CHOICE = ProviderChoice(
    provider=CUDA, ordinal=1, input_name="image", shape=(3, 32, 32), sizes=(1, 2, 4, 8), memory=1 << 30
)
TRT = replace(CHOICE, provider=TENSORRT, cache=Path("/cache/tensorrt"))
CUDA_OPTIONS = {
    "device_id": "1",
    "cudnn_conv_algo_search": "HEURISTIC",
    "cudnn_conv_use_max_workspace": "1",
    "arena_extend_strategy": "kSameAsRequested",
    "enable_cuda_graph": "0",
    "gpu_mem_limit": "1073741824",
}
TENSORRT_OPTIONS = {
    "device_id": "1",
    "trt_profile_min_shapes": "image:1x3x32x32",
    "trt_profile_opt_shapes": "image:8x3x32x32",
    "trt_profile_max_shapes": "image:8x3x32x32",
    "trt_fp16_enable": "0",
    "trt_bf16_enable": "0",
    "trt_sparsity_enable": "0",
    "trt_cuda_graph_enable": "0",
    "trt_max_workspace_size": "1073741824",
    "trt_engine_cache_enable": "1",
    "trt_engine_cache_path": "/cache/tensorrt",
    "trt_timing_cache_enable": "1",
    "trt_timing_cache_path": "/cache/tensorrt",
}


def test_cuda_searches_by_heuristic_and_its_arena_grows_by_what_is_asked_for() -> None:
    assert providers(CHOICE) == [(CUDA, CUDA_OPTIONS)]


def test_cuda_may_capture_graphs_and_use_all_memory() -> None:
    without = {name: value for name, value in CUDA_OPTIONS.items() if name != "gpu_mem_limit"}
    assert providers(replace(CHOICE, graphs=True, memory=None)) == [
        (CUDA, without | {"enable_cuda_graph": "1"})
    ]


def test_tensorrt_has_one_profile_for_all_sizes_and_cuda_behind_it() -> None:
    assert providers(TRT) == [(TENSORRT, TENSORRT_OPTIONS), (CUDA, CUDA_OPTIONS)]


def test_tensorrt_is_told_of_half_precision_and_of_sparse_weights() -> None:
    (_, options), _ = providers(replace(TRT, arithmetic="fp16", sparse=True))
    assert {name for name, value in options.items() if value != TENSORRT_OPTIONS[name]} == {
        "trt_fp16_enable",
        "trt_sparsity_enable",
    }
    (_, options), _ = providers(replace(TRT, arithmetic="bf16"))
    assert (options["trt_fp16_enable"], options["trt_bf16_enable"]) == ("0", "1")


def test_without_a_folder_nothing_is_kept() -> None:
    (_, options), _ = providers(replace(TRT, cache=None))
    assert not [name for name in options if "cache" in name]


def test_the_cpu_has_no_options() -> None:
    assert providers(replace(CHOICE, provider=CPU)) == [(CPU, {})]


@pytest.mark.parametrize(("provider", "options"), [(CUDA, CUDA_OPTIONS), (TENSORRT, TENSORRT_OPTIONS)])
def test_the_installed_provider_knows_every_option(provider: str, options: dict[str, str]) -> None:
    """Their names stand in its file: a misspelt one would be an error on the first machine with a GPU."""
    content = provider_file(provider).read_bytes()
    assert [name for name in options if b"\0" + name.encode() + b"\0" not in content] == []
