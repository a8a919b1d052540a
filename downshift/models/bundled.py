"""The trained networks that come with the package."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from downshift.models.errors import UnknownName

SUFFIX = ".onnx"


def bundled() -> tuple[str, ...]:
    """Names of the bundled artifacts, such as `cifar10-resnet20`."""
    return tuple(sorted(path.stem for path in _zoo().glob(f"*{SUFFIX}")))


def locate(model: str | Path) -> Path:
    """The file at that path or, where there is none, the bundled artifact of that name.

    Raises `UnknownName` for a plain word that is neither; any other path is returned, there or not.
    """
    path, names = Path(model), bundled()
    if path.exists() or path.suffix or len(path.parts) != 1:
        return path
    if path.name not in names:
        raise UnknownName("file or bundled network", path.name, names)
    return _zoo() / f"{path.name}{SUFFIX}"


def _zoo() -> Path:
    return Path(str(files("downshift.models"))) / "zoo"
