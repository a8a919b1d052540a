"""One sub-net on a device: fixed batch sizes, and inputs and outputs that stay where they are."""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort

from downshift.errors import first_line
from downshift.runtime.errors import DeviceFault, OutOfDeviceMemory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.models.spec import Manifest
    from downshift.runtime.gpu.busy import BusyMeter
    from downshift.runtime.gpu.driver import Device
    from downshift.runtime.request import FloatArray

LADDER = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Batch sizes that programs are built for; a batch between two of them is padded to the larger."""
GRAPH_RUNS = 3  # the first runs of a size allocate, one of the next is captured, the last replays it
_OUT_OF_MEMORY = re.compile(r"out of memory|failed to allocate|memory limit|available memory", re.IGNORECASE)


class DeviceBuffers:
    """Memory for the inputs and outputs of every batch size, shared by all programs of one `compile`.

    They take turns, under `lock`: one device computes one batch at a time.
    """

    def __init__(
        self, device: Device, busy: BusyMeter, manifest: Manifest, sizes: Sequence[int], kind: str
    ) -> None:
        """busy: counts the time in which any of them computes. kind: "cuda"; "cpu" is host memory."""
        self.device, self.busy = device, busy
        self.lock = threading.Lock()
        self.sizes = tuple(sizes)
        shape, classes = manifest.input.shape, len(manifest.labels)
        self.padded = np.zeros((sizes[-1], *shape), np.float32)
        self.inputs = [_on_device(kind, device.ordinal, (size, *shape)) for size in sizes]
        self.outputs = [_on_device(kind, device.ordinal, (size, classes)) for size in sizes]


class DeviceProgram:
    """Runs a session on bound buffers, one binding for each batch size, made once.

    Larger batches than the largest size run in pieces. Safe from any thread. device, busy: as the buffers'.
    """

    def __init__(
        self, engine: str, session: ort.InferenceSession, buffers: DeviceBuffers, *, graphs: bool = False
    ) -> None:
        """graphs: the session captures CUDA graphs."""
        self.engine, self.device, self.busy = engine, buffers.device, buffers.busy
        self._session, self._buffers = session, buffers
        self._sizes = buffers.sizes
        self._runs = GRAPH_RUNS if graphs else 1
        name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
        self._bindings = []
        for source, target in zip(buffers.inputs, buffers.outputs, strict=True):
            binding = session.io_binding()
            binding.bind_ortvalue_input(name, source)
            binding.bind_ortvalue_output(output, target)
            self._bindings.append(binding)
        self._options = [_run_options(index, graphs) for index in range(len(self._sizes))]

    @property
    def sizes(self) -> tuple[int, ...]:
        """Batch sizes that it computes at once, ascending."""
        return self._sizes

    def run(self, batch: FloatArray, /) -> FloatArray:
        """Logits float32 [n, classes] for float32 [n, C, H, W].

        Raises `OutOfDeviceMemory`, or `DeviceFault` for whatever else the device fails with.
        """
        largest = self._sizes[-1]
        if len(batch) <= largest:
            return self._run(batch)
        return np.concatenate([self._run(batch[i : i + largest]) for i in range(0, len(batch), largest)])

    def warm_up(self) -> None:
        """Run every size, so that no request pays for building, capturing or allocating anything.

        Sizes that do not fit into the device's memory are given up. Raises `DeviceFault` when none is left.
        """
        for index, size in enumerate(self._sizes):
            try:
                for _ in range(self._runs):
                    self._run(self._buffers.padded[:size])
            except OutOfDeviceMemory:
                if not index:
                    raise
                self._sizes = self._sizes[:index]
                return

    def _run(self, batch: FloatArray) -> FloatArray:
        examples, buffers = len(batch), self._buffers
        index = bisect_left(self._sizes, examples)
        size = self._sizes[index]
        with buffers.lock, self.busy:
            if examples < size:
                buffers.padded[:examples] = batch
                buffers.padded[examples:size] = 0.0
                batch = buffers.padded[:size]
            try:
                buffers.inputs[index].update_inplace(batch)
                self._session.run_with_iobinding(self._bindings[index], self._options[index])
                outputs: Any = buffers.outputs[index].numpy()
            except Exception as error:
                raise _fault(self.engine, self.device, error) from error
            return np.array(outputs[:examples], dtype=np.float32)


def _on_device(kind: str, ordinal: int, shape: tuple[int, ...]) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32, kind, ordinal)


def _run_options(index: int, graphs: bool) -> ort.RunOptions | None:
    """With CUDA graphs every size has a number, from 1, under which its graph is kept."""
    if not graphs:
        return None
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(index + 1))
    return options


def _fault(engine: str, device: Device, error: Exception) -> DeviceFault:
    """onnxruntime's errors share no class: what they say tells them apart."""
    text = str(error).strip()
    kind = OutOfDeviceMemory if _OUT_OF_MEMORY.search(text) else DeviceFault
    return kind(engine, str(device), first_line(error))
