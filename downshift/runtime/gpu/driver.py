"""The NVIDIA driver's CUDA side: which devices a program of this process can compute on."""

from __future__ import annotations

import ctypes
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from downshift.models.errors import UnknownName
from downshift.runtime.errors import DeviceUnavailable
from downshift.runtime.gpu.monitor import GpuMonitor

if TYPE_CHECKING:
    from collections.abc import Sequence

LIBRARY = "libcuda.so.1"
INSTALL = "install the NVIDIA driver, or give the container its GPUs (docker run --gpus all)"
NAME_BYTES = 256


@dataclass(frozen=True)
class Device:
    """A GPU or MIG instance as CUDA sees it.

    ordinal: CUDA's own count, after CUDA_VISIBLE_DEVICES. uuid: as NVML has it, GPU-... or MIG-...
    """

    ordinal: int
    uuid: str
    name: str

    def __str__(self) -> str:
        return f"cuda:{self.ordinal} ({self.name}, {self.uuid})"


@dataclass(frozen=True)
class DeviceChoice:
    """Where GPU engines compute.

    device: `cuda:1`, a UUID or the beginning of one, `cpu` for no GPU; None for the first where there is one.
    memory: most bytes of its memory for the sub-nets of one model on one engine; None for no limit.
    """

    device: str | None = None
    memory: int | None = None

    @property
    def wants_gpu(self) -> bool:
        """Whether GPU engines are to be tried unasked: a GPU is named, or none is and one answers."""
        return self.device != "cpu" and (self.device is not None or answers())


def find_devices() -> tuple[Device, ...]:
    """Every device that CUDA offers and NVML knows, in CUDA's order.

    Raises `DeviceUnavailable` where either does not answer, or there is none.
    """
    if missing := (monitor := GpuMonitor()).missing:
        raise DeviceUnavailable(f"NVML does not answer ({missing})", INSTALL)
    try:
        cuda = ctypes.CDLL(LIBRARY)
    except OSError:
        raise DeviceUnavailable(f"the NVIDIA driver's {LIBRARY} is missing", INSTALL) from None
    _call(cuda, "cuInit", 0)
    count = ctypes.c_int()
    _call(cuda, "cuDeviceGetCount", ctypes.byref(count))
    devices = tuple(_device(cuda, ordinal, monitor.uuids) for ordinal in range(count.value))
    if not devices:
        raise DeviceUnavailable(
            "CUDA offers no device", "unset CUDA_VISIBLE_DEVICES or name one that is there"
        )
    return devices


def find_device(wanted: str | None = None) -> Device:
    """The named device: `cuda`, `cuda:1`, or a UUID or the beginning of one; by default the first.

    Raises `DeviceUnavailable` where there are no devices, `UnknownName` for one that is not among them.
    """
    devices = find_devices()
    for device in devices:
        if wanted in {None, "cuda", f"cuda:{device.ordinal}"} or device.uuid.startswith(str(wanted)):
            return device
    raise UnknownName("device", str(wanted), [f"cuda:{each.ordinal}" for each in devices])


def answers() -> bool:
    """Whether NVML and CUDA both answer and offer a device."""
    try:
        return bool(find_devices())
    except DeviceUnavailable:
        return False


def _device(cuda: ctypes.CDLL, ordinal: int, known: Sequence[str]) -> Device:
    handle, name, raw = ctypes.c_int(), ctypes.create_string_buffer(NAME_BYTES), (ctypes.c_ubyte * 16)()
    _call(cuda, "cuDeviceGet", ctypes.byref(handle), ordinal)
    _call(cuda, "cuDeviceGetName", name, NAME_BYTES, handle)
    _call(cuda, "cuDeviceGetUuid_v2", ctypes.byref(raw), handle)  # of the MIG instance, where it is one
    identity = str(uuid.UUID(bytes=bytes(raw)))
    whole = next((each for each in known if each.endswith(identity)), f"GPU-{identity}")
    return Device(ordinal, whole, name.value.decode(errors="replace"))


def _call(cuda: ctypes.CDLL, function: str, *arguments: object) -> None:
    """Call the driver; raises `DeviceUnavailable` with its error's number."""
    try:
        status = getattr(cuda, function)(*arguments)
    except AttributeError:
        raise DeviceUnavailable(f"the NVIDIA driver has no {function}", "install a newer driver") from None
    if status:
        raise DeviceUnavailable(f"the NVIDIA driver's {function} fails with CUDA error {status}", INSTALL)
