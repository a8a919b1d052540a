"""The trained networks that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

SUFFIX = ".onnx"


def bundled() -> tuple[str, ...]:
    """Names of the bundled artifacts, such as `cifar10-resnet20`."""
    return tuple(sorted(path.stem for path in _zoo().glob(f"*{SUFFIX}")))


def locate(model: str | Path) -> Path:
    """The file at that path or, where there is none, the bundled artifact of that name."""
    path, inside = Path(model), _zoo() / f"{model}{SUFFIX}"
    return inside if str(model) in bundled() and not path.exists() else path


def _zoo() -> Path:
    return Path(str(files("downshift.models"))) / "zoo"
