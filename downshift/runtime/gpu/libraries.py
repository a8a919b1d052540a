"""The CUDA and TensorRT libraries that onnxruntime's GPU providers need, and the wheels they come in.

onnxruntime-gpu brings the providers, not what they link against. The wheels of `downshift[cuda]` and
`downshift[tensorrt]` put these libraries into site-packages, where the dynamic linker does not look: so each
is opened by its path first, and the provider then finds it by its soname.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.runtime.errors import DeviceUnavailable
from downshift.runtime.gpu.elf import needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DRIVER = frozenset({"libcuda.so.1", "libnvidia-ml.so.1"})
"""Installed with the NVIDIA driver, whose kernel module they must match: no wheel brings them."""
SYSTEM = frozenset(
    {
        *("ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1", "libc.so.6", "libdl.so.2", "libgcc_s.so.1"),
        *("libm.so.6", "libpthread.so.0", "librt.so.1", "libstdc++.so.6", "libz.so.1"),
    }
)
"""On every glibc system that Python's manylinux wheels run on."""
WHEELS: Mapping[str, str] = {
    "libcudart.so.13": "nvidia-cuda-runtime",
    "libcublas.so.13": "nvidia-cublas",
    "libcublasLt.so.13": "nvidia-cublas",
    "libcurand.so.10": "nvidia-curand",
    "libnvrtc.so.13": "nvidia-cuda-nvrtc",
    "libcudnn.so.9": "nvidia-cudnn-cu13",
    "libnvinfer.so.10": "tensorrt-cu13-libs",
    "libnvonnxparser.so.10": "tensorrt-cu13-libs",
}
"""Soname -> the wheel that brings it."""
OPENED: Mapping[str, tuple[str, ...]] = {
    "CUDAExecutionProvider": ("libnvrtc.so.13", "libcudnn.so.9"),
    "TensorrtExecutionProvider": (),
}
"""Provider -> libraries that it opens by name when it starts, so that no DT_NEEDED entry tells of them."""
FILES: Mapping[str, str] = {
    "CUDAExecutionProvider": "libonnxruntime_providers_cuda.so",
    "TensorrtExecutionProvider": "libonnxruntime_providers_tensorrt.so",
}
EXTRAS: Mapping[str, str] = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "tensorrt"}
"""Provider -> the extra of ours that names its wheels."""


def provider_file(provider: str) -> Path:
    """The provider's shared library inside the installed onnxruntime; raises `DeviceUnavailable`."""
    name = FILES[provider]
    with suppress(PackageNotFoundError):
        for file in distribution("onnxruntime-gpu").files or ():
            if file.name == name and (path := Path(str(file.locate()))).is_file():
                return path
    raise DeviceUnavailable(f"{name} is missing", "pip install onnxruntime-gpu")


def wanted(provider: str) -> tuple[str, ...]:
    """Sonames that the provider needs from wheels, by DT_NEEDED or by name, before those that need them."""
    direct = (*needed(provider_file(provider)), *OPENED[provider])
    return tuple(dict.fromkeys(soname for name in direct for soname in _with_needs(name)))


def located(soname: str) -> Path | None:
    """The library's file inside the wheel that brings it; None where that wheel is not installed."""
    with suppress(PackageNotFoundError):
        for file in distribution(WHEELS[soname]).files or ():
            if file.name == soname and (path := Path(str(file.locate()))).is_file():
                return path
    return None


def preload(provider: str) -> None:
    """Open everything the provider needs, from the wheels or from where the dynamic linker looks.

    Raises `DeviceUnavailable` naming the first library that is nowhere, and the extra that brings it.
    """
    for soname in wanted(provider):
        try:
            ctypes.CDLL(str(located(soname) or soname))
        except OSError as error:
            raise DeviceUnavailable(
                f"{soname} cannot be loaded ({error})", f"pip install 'downshift[{EXTRAS[provider]}]'"
            ) from None


def _with_needs(soname: str) -> Iterator[str]:
    """The library after everything that it needs itself, but for the system's and the driver's."""
    if soname in SYSTEM or soname in DRIVER:
        return
    if soname in WHEELS and (path := located(soname)) is not None:
        for below in needed(path):
            yield from _with_needs(below)
    yield soname
