"""A network that a function of somebody else builds: `file.py:function`, or `package.module:function`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from downshift.errors import kind_and_first_line
from downshift.models.errors import SpecError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

SIDE = 224  # pixels, where nothing else is known of a network


def is_own(name: str) -> bool:
    """Whether a network's name says where the function is that builds it."""
    return ":" in name


def make(name: str, *, classes: int, width: float = 1.0, channels: int = 3) -> nn.Module:
    """What the function of that name returns; its module is imported now, which runs it.

    The function gets the number of classes as `classes` or `num_classes`; as `channels` or `in_chans` those
    of the images, and the `width`, where it takes them. Raises `SpecError` for a file, module or function
    that is not there, for one that takes no number of classes or cannot do what is asked, and for whatever
    the foreign code raises.
    """
    place, _, attribute = name.rpartition(":")
    with (
        _importing_from(Path(place).parent if place.endswith(".py") else Path()),
        _foreign_code(name, place),
    ):
        module = _from_file(name, Path(place)) if place.endswith(".py") else _module(name, place)
        function = getattr(module, attribute, None)
        if not callable(function):
            raise SpecError(f"network {name}: {place} has no function {attribute!r}")
        network = function(**_arguments(name, function, classes, width, channels))
    if not isinstance(network, nn.Module):
        raise SpecError(f"network {name}: {attribute} returned a {type(network).__name__}, no nn.Module")
    return network


def _arguments(
    name: str, function: Callable[..., object], classes: int, width: float, channels: int
) -> dict[str, Any]:
    """The keyword arguments that `function` takes, by the first of each one's names that it has."""
    taken = inspect.signature(function).parameters
    anything = any(each.kind is each.VAR_KEYWORD for each in taken.values())
    arguments: dict[str, Any] = {}
    for value, spellings, default in (
        (classes, ("classes", "num_classes"), None),
        (channels, ("channels", "in_chans"), 3),
        (width, ("width",), 1.0),
    ):
        spelling = next((each for each in spellings if each in taken), None)
        if spelling is None and default is None and anything:
            spelling = spellings[-1]  # as torchvision's and timm's functions pass it on
        if spelling is not None:
            arguments[spelling] = value
        elif value != default:
            raise SpecError(
                f"network {name}: its function takes no {spellings[0]}; {spellings[0]} = {value} is needed"
            )
    return arguments


def _from_file(name: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise SpecError(f"network {name}: no file {path}")
    title = f"downshift_network_{path.stem}"
    spec = importlib.util.spec_from_file_location(title, path)
    if spec is None or spec.loader is None:
        raise SpecError(f"network {name}: {path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[title] = module
    spec.loader.exec_module(module)
    return module


def _module(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ImportError as error:
        raise SpecError(
            f"network {name}: module {place!r} cannot be imported ({error}); install it, or mend its imports"
        ) from error


@contextmanager
def _foreign_code(name: str, place: str) -> Iterator[None]:
    """Within, whatever the code in `place` raises is a `SpecError` with its kind, first line and origin."""
    try:
        yield
    except SpecError:
        raise
    except (Exception, SystemExit) as error:
        what, origin = kind_and_first_line(error), _origin(error, place)
        raise SpecError(f"network {name}: {what}{origin}; mend {place or name}") from error


def _origin(error: BaseException, place: str) -> str:
    """`, in line 7 of net.py`: the innermost line of `place`, a file or module, that raised the error."""
    file = place if place.endswith(".py") else f"{place.replace('.', '/')}.py"
    lines = [
        each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename.endswith(file)
    ]
    if isinstance(error, SyntaxError) and error.lineno:
        lines.append(error.lineno)
    return f", in line {lines[-1]} of {file}" if lines else ""


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Within, modules of `folder` can be imported, as in a program that lies there."""
    sys.path.insert(0, str(folder.resolve()))
    try:
        yield
    finally:
        sys.path.remove(str(folder.resolve()))
