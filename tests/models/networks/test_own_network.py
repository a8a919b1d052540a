"""Networks that somebody else's function builds, named by file or module."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from downshift.models.errors import SpecError
from downshift.models.network import build, find

if TYPE_CHECKING:
    from pathlib import Path

FILE = """
from torch import nn

from beside import HIDDEN


def plain(classes, channels=3):
    return nn.Sequential(nn.Conv2d(channels, HIDDEN, 3), nn.Flatten(), nn.LazyLinear(classes))


def as_timm(num_classes=1000, in_chans=3):
    return nn.Conv2d(in_chans, num_classes, 1)


def passing_on(**options):
    assert options == {"num_classes": 7}
    return nn.Linear(1, options["num_classes"])


def fixed():
    return nn.Linear(1, 2)


def text(classes):
    return "network"


number = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("HIDDEN = 5\n")
    path = tmp_path / "mine.py"
    path.write_text(FILE)
    return path


def test_a_function_in_a_file_builds_it_and_may_import_its_neighbours(file: Path) -> None:
    network = build(f"{file}:plain", classes=4, channels=1)
    assert isinstance(network, nn.Sequential)
    assert network[0].weight.shape == (5, 1, 3, 3)
    assert find(f"{file}:plain").name == f"{file}:plain"


def test_the_spellings_of_others_are_understood(file: Path) -> None:
    network = build(f"{file}:as_timm", classes=4, channels=1)
    assert isinstance(network, nn.Conv2d)
    assert network.weight.shape == (4, 1, 1, 1)
    assert isinstance(build(f"{file}:passing_on", classes=7), nn.Linear)


def test_a_module_serves_as_well() -> None:
    network = build("torchvision.models:resnet18", classes=6)
    assert network.eval()(torch.zeros(1, 3, 32, 32)).shape == (1, 6)
    assert build("downshift.models.networks.vgg:Vgg19", classes=6, width=0.0625, channels=1)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="pip install -e '.[dev]'")
def test_a_network_of_timm_is_built_by_its_function() -> None:
    network = build("timm.models:vit_tiny_patch16_224", classes=6)
    assert network.get_submodule("head").weight.shape == (6, 192)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.py:plain", "no file .*absent.py"),
        ("mine.py:nothing", "mine.py has no function 'nothing'"),
        ("mine.py:number", "mine.py has no function 'number'"),
        ("mine.py:fixed", "takes no classes; classes = 4 is needed"),
        ("mine.py:text", "text returned a str, no nn.Module"),
        ("no_such_module:plain", "module 'no_such_module' cannot be imported"),
    ],
)
def test_what_does_not_work_is_one_sentence(name: str, said: str, file: Path) -> None:
    place = f"{file.parent}/{name}" if ".py" in name else name
    with pytest.raises(SpecError, match=f"network .*{name}: .*{said}") as caught:
        build(place, classes=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("figure", "said"), [({"channels": 1}, "channels = 1"), ({"width": 2.0}, "width = 2")]
)
def test_what_a_function_does_not_take_cannot_be_asked_of_it(figure: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=f"{said}.* is needed"):
        build("torchvision.models:resnet18", classes=4, **figure)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "def net(classes):\n    raise RuntimeError('first\\nsecond')",
            "RuntimeError: first, in line 2 of .*x.py",
        ),
        ("def net(classes):\n    assert False", "AssertionError, in line 2 of .*x.py"),
        ("1 / 0", "ZeroDivisionError: division by zero, in line 1 of .*x.py"),
        ("\ndef net(classes:", "SyntaxError: .*in line 2 of .*x.py"),
        ("import no_such_module", "ModuleNotFoundError: .*no_such_module.*in line 1 of .*x.py"),
        ("raise SystemExit(3)", "SystemExit: 3, in line 1 of .*x.py"),
        ("net = dict", "ValueError: .*signature"),
    ],
)
def test_whatever_foreign_code_raises_is_one_sentence_with_its_line(
    code: str, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.py"
    path.write_text(code)
    with pytest.raises(SpecError, match=f"^network .*x.py:net: {said}.*; mend .*x.py$") as caught:
        build(f"{path}:net", classes=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [":net", ".:net", "..up:net", "../up:net"])
def test_what_is_no_name_of_a_module_is_one_sentence(name: str) -> None:
    with pytest.raises(SpecError, match=r"^network "):
        build(name, classes=4)
