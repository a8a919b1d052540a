"""A driver without a GPU: libraries that play NVML and CUDA, and the file that tells them what to say."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from downshift.models.atomic import write_atomically

SOURCE = Path(__file__).with_suffix(".c")
A, B = "GPU-aaaaaaaa-0000-0000-0000-00000000000a", "GPU-bbbbbbbb-0000-0000-0000-00000000000b"
MIG = "MIG-cccccccc-0000-0000-0000-00000000000c"
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler (cc)")


@dataclass(frozen=True, kw_only=True)
class PlayedGpu:
    """utilization: percent, None where not supported. reasons: NVML's bits. parent: line of its GPU (MIG)."""

    uuid: str = A
    utilization: int | None = 0
    used: int = 1 << 20
    total: int = 1 << 30
    reasons: int = 0
    lost: bool = False
    parent: int = -1

    def __str__(self) -> str:
        utilization = -1 if self.utilization is None else self.utilization
        memory = f"{self.used} {self.total}"
        return f"{self.uuid} {utilization} {memory} {self.reasons} {int(self.lost)} {self.parent}"


class FakeDriver:
    """Compiled into a folder; processes started with `environment` find it instead of the real one."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._told = folder / "gpus.txt"
        for name in ("libnvidia-ml.so.1", "libcuda.so.1"):
            command = [
                "cc",
                "-shared",
                "-fPIC",
                "-O1",
                f"-Wl,-soname,{name}",
                str(SOURCE),
                "-o",
                str(folder / name),
            ]
            subprocess.run(command, check=True)
        before = os.environ.get("LD_LIBRARY_PATH", "")
        self.environment = {
            "LD_LIBRARY_PATH": f"{folder}:{before}".rstrip(":"),
            "FAKE_GPUS": str(self._told),
        }

    def tell(self, *gpus: PlayedGpu) -> None:
        """From now on there are these, in this order."""
        write_atomically(self._told, "".join(f"{gpu}\n" for gpu in gpus).encode())
