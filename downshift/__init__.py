"""Dynamic inference: one sparse supernet, trained once, served at many speeds.

    import downshift

    with downshift.load("cifar10-resnet20") as model:
        print(model.predict("cat.png", budget_ms=100))

Names are imported when they are first used: `import downshift` alone imports no numpy, onnxruntime or torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from downshift.api.alternating_trainer import AlternatingTrainer
    from downshift.api.model import Model, load
    from downshift.api.prediction import Label, Prediction
    from downshift.api.training import train
    from downshift.errors import DownshiftError
    from downshift.models.spec import InputSpec
    from downshift.models.supernet import Supernet

__all__ = [
    "AlternatingTrainer",
    "DownshiftError",
    "InputSpec",
    "Label",
    "Model",
    "Prediction",
    "Supernet",
    "load",
    "train",
]

_MODULES = {
    "AlternatingTrainer": "downshift.api.alternating_trainer",
    "DownshiftError": "downshift.errors",
    "InputSpec": "downshift.models.spec",
    "Label": "downshift.api.prediction",
    "Model": "downshift.api.model",
    "Prediction": "downshift.api.prediction",
    "Supernet": "downshift.models.supernet",
    "load": "downshift.api.model",
    "train": "downshift.api.training",
}

if not TYPE_CHECKING:  # type checkers read the imports above, and know a misspelt name

    def __getattr__(name: str) -> Any:
        """The public thing of that name, imported on first use (PEP 562)."""
        if name not in _MODULES:
            raise AttributeError(f"module 'downshift' has no attribute {name!r}: it has {', '.join(__all__)}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
