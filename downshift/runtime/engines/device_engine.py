"""onnxruntime on an NVIDIA GPU: CUDA and TensorRT, in float32 and in half precision."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import onnxruntime as ort

from downshift.errors import first_line
from downshift.models.pattern import NByM
from downshift.runtime.engines.device_program import LADDER, DeviceBuffers, DeviceProgram
from downshift.runtime.engines.exported import dense_model
from downshift.runtime.engines.half import half_model
from downshift.runtime.engines.onnxruntime import ERRORS_ONLY
from downshift.runtime.engines.provider_options import CUDA, TENSORRT, ProviderChoice, providers
from downshift.runtime.errors import DeviceFault, DeviceUnavailable, EngineUnavailable, UnsupportedModel
from downshift.runtime.gpu.busy import BusyMeter
from downshift.runtime.gpu.driver import find_device
from downshift.runtime.gpu.libraries import preload

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from downshift.models.artifact import Artifact
    from downshift.models.spec import Precision
    from downshift.runtime.engines.provider_options import Arithmetic
    from downshift.runtime.gpu.driver import Device, DeviceChoice
    from downshift.runtime.json_cache import JsonCache

TWO_OF_FOUR = NByM(2, 4)  # what sparse tensor cores compute


@dataclass(frozen=True, kw_only=True)
class DeviceEngine:
    """Compiles each sub-net for one device, with every batch size built and run before it is handed over.

    provider: onnxruntime's. memory: most bytes for the arenas of all sub-nets together, None for no limit.
    folder: where TensorRT keeps engines, None for nowhere. sizes: batch sizes. kind: of memory, as
    `DeviceBuffers` has it. busy: our own time on the device.
    """

    name: str
    provider: str
    device: Device
    graphs: bool = False
    arithmetic: Arithmetic = "fp32"
    memory: int | None = None
    folder: Path | None = None
    sizes: Sequence[int] = LADDER
    kind: str = "cuda"
    precision: Precision = "fp32"
    busy: BusyMeter = field(default_factory=BusyMeter, compare=False)

    @property
    def version(self) -> str:
        """onnxruntime's version, the device's model and the largest batch."""
        return f"{ort.__version__} on {self.device.name}, batches up to {self.sizes[-1]}"

    def compile(
        self, artifact: Artifact, subnets: Sequence[str], *, threads: int
    ) -> Mapping[str, DeviceProgram | UnsupportedModel]:
        """A program for every named sub-net, or why there is none; `threads` prepare batches on the host."""
        manifest = artifact.manifest
        try:
            buffers = DeviceBuffers(self.device, self.busy, manifest, self.sizes, self.kind)
        except Exception as error:  # onnxruntime's errors share no base class of their own
            raise UnsupportedModel(f"engine {self.name}: no memory on {self.device} ({error})") from error
        return {name: self._compile(artifact, name, buffers, threads, len(subnets)) for name in subnets}

    def _compile(
        self, artifact: Artifact, subnet: str, buffers: DeviceBuffers, threads: int, sharers: int
    ) -> DeviceProgram | UnsupportedModel:
        manifest = artifact.manifest
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        choice = ProviderChoice(
            provider=self.provider,
            ordinal=self.device.ordinal,
            input_name=manifest.input.name,
            shape=manifest.input.shape,
            sizes=self.sizes,
            memory=None if self.memory is None else self.memory // sharers,
            graphs=self.graphs,
            arithmetic=self.arithmetic,
            cache=_usable(self.folder),
            sparse=manifest.point(subnet).subnet.pattern == TWO_OF_FOUR,
        )
        model = dense_model(artifact, subnet)
        if self.arithmetic == "fp16" and self.provider != TENSORRT:
            model = half_model(model)
        try:
            session = ort.InferenceSession(model, options, providers=providers(choice))
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base class of their own
            return self._unsupported(subnet, first_line(error))
        if session.get_providers()[0] != self.provider:
            return self._unsupported(subnet, f"{self.provider} does not start on {self.device}")
        try:
            program = DeviceProgram(self.name, session, buffers, graphs=self.graphs)
            program.warm_up()
        except DeviceFault as error:
            return self._unsupported(subnet, str(error))
        return program

    def _unsupported(self, subnet: str, reason: str) -> UnsupportedModel:
        return UnsupportedModel(f"engine {self.name}: sub-net {subnet}: {reason}")


def cuda(cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """CUDA, kernel by kernel."""
    return _on_gpu("onnxruntime-cuda", CUDA, cache, choice)


def cuda_graphs(cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """CUDA, each batch size launched as one CUDA graph."""
    return replace(_on_gpu("onnxruntime-cuda-graphs", CUDA, cache, choice), graphs=True)


def cuda_fp16(cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """CUDA in float16, as CUDA graphs."""
    return replace(_on_gpu("onnxruntime-cuda-fp16", CUDA, cache, choice), graphs=True, arithmetic="fp16")


def tensorrt(cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """TensorRT in float32."""
    return _on_gpu("onnxruntime-tensorrt", TENSORRT, cache, choice)


def tensorrt_fp16(cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """TensorRT, which may take float16 for any layer."""
    return replace(_on_gpu("onnxruntime-tensorrt-fp16", TENSORRT, cache, choice), arithmetic="fp16")


def tensorrt_bf16(cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """TensorRT, which may take bfloat16 for any layer."""
    return replace(_on_gpu("onnxruntime-tensorrt-bf16", TENSORRT, cache, choice), arithmetic="bf16")


def _on_gpu(name: str, provider: str, cache: JsonCache, choice: DeviceChoice) -> DeviceEngine:
    """The engine on the chosen device; raises `EngineUnavailable`, or `UnknownName` for the device."""
    ort.disable_telemetry_events()
    if provider not in ort.get_available_providers():
        raise EngineUnavailable(name, f"this onnxruntime has no {provider}", "pip install onnxruntime-gpu")
    try:
        device = find_device(choice.device)
        preload(CUDA)  # TensorRT leaves operators to it
        preload(provider)
    except DeviceUnavailable as error:
        raise EngineUnavailable(name, error.missing, error.remedy) from error
    folder = cache.folder / "tensorrt" / name if cache.folder is not None and provider == TENSORRT else None
    return DeviceEngine(name=name, provider=provider, device=device, memory=choice.memory, folder=folder)


def _usable(folder: Path | None) -> Path | None:
    """The folder, made if need be; None where it cannot be, and engines are built at every start."""
    if folder is None:
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return folder
