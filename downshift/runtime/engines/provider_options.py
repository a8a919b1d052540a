"""What onnxruntime's GPU providers are told, as data, so that tests see it without a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
Arithmetic = Literal["fp32", "fp16", "bf16"]
Provider = tuple[str, dict[str, str]]


@dataclass(frozen=True, kw_only=True)
class ProviderChoice:
    """How one sub-net is to be computed.

    ordinal: of the device, as CUDA counts. memory: most bytes of this sub-net's arena, None for no limit.
    graphs: capture a CUDA graph for every batch size. sizes: batch sizes, ascending. input_name, shape: of
    the network's input, without the batch. cache: folder for TensorRT's engines, None keeps none. sparse:
    weights are 2:4.
    """

    provider: str
    ordinal: int
    input_name: str
    shape: tuple[int, ...]
    sizes: Sequence[int]
    memory: int | None = None
    graphs: bool = False
    arithmetic: Arithmetic = "fp32"
    cache: Path | None = None
    sparse: bool = False


def providers(choice: ProviderChoice) -> list[Provider]:
    """The providers to ask, first choice first, with their options."""
    match choice.provider:
        case "TensorrtExecutionProvider":
            return [(TENSORRT, tensorrt_options(choice)), (CUDA, cuda_options(choice))]
        case "CUDAExecutionProvider":
            return [(CUDA, cuda_options(choice))]
        case other:
            return [(other, {})]


def cuda_options(choice: ProviderChoice) -> dict[str, str]:
    """Options of the CUDA provider; where TensorRT comes first, for the operators that it leaves.

    cuDNN is asked for its own choice of algorithm (HEURISTIC): the default, EXHAUSTIVE, tries all of them at
    every new shape. The arena grows by what is asked for: by default it doubles, and five sub-nets have five.
    """
    graphs = choice.graphs and choice.provider == CUDA
    options = {
        "device_id": str(choice.ordinal),
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",
        "enable_cuda_graph": str(int(graphs)),
    }
    if choice.memory is not None:
        options["gpu_mem_limit"] = str(choice.memory)
    return options


def tensorrt_options(choice: ProviderChoice) -> dict[str, str]:
    """Options of the TensorRT provider: one engine for all batch sizes, tuned for the largest of them.

    Without an explicit profile TensorRT would build another engine, for seconds, at every new batch size.
    """
    options = {
        "device_id": str(choice.ordinal),
        "trt_profile_min_shapes": _shape(choice, choice.sizes[0]),
        "trt_profile_opt_shapes": _shape(choice, choice.sizes[-1]),
        "trt_profile_max_shapes": _shape(choice, choice.sizes[-1]),
        "trt_fp16_enable": str(int(choice.arithmetic == "fp16")),
        "trt_bf16_enable": str(int(choice.arithmetic == "bf16")),
        "trt_sparsity_enable": str(int(choice.sparse)),
        "trt_cuda_graph_enable": str(int(choice.graphs)),
    }
    if choice.memory is not None:
        options["trt_max_workspace_size"] = str(choice.memory)
    if choice.cache is not None:
        options |= {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(choice.cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(choice.cache),
        }
    return options


def _shape(choice: ProviderChoice, batch: int) -> str:
    return f"{choice.input_name}:" + "x".join(map(str, (batch, *choice.shape)))
