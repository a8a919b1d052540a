"""What `import downshift` offers, and what it costs."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
import textwrap
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

import downshift
from downshift.api.model import Model
from downshift.models import bundled
from downshift.models.supernet import Supernet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAVY = ("torch", "onnx", "onnxruntime", "numpy", "PIL", "fastapi", "pydantic", "prometheus_client", "typer")


def test_importing_it_imports_nothing_heavy() -> None:
    script = f"import sys, downshift; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_loading_a_model_needs_neither_torch_nor_the_web_stack() -> None:
    script = (
        "import sys, downshift; downshift.load; print({'torch', 'fastapi', 'uvicorn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_is_there_listed_and_documented() -> None:
    assert downshift.__all__ == sorted(downshift.__all__, key=lambda name: (name[0].islower(), name))
    for name in downshift.__all__:
        assert name in dir(downshift)
        assert getattr(downshift, name).__doc__
    assert downshift.Model is Model
    assert downshift.Supernet is Supernet


def test_a_misspelt_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'Modle': it has Alternating.*, load, train"):
        downshift.Modle  # type: ignore[attr-defined]  # noqa: B018


def test_it_tells_type_checkers_that_it_is_typed() -> None:
    assert (files("downshift") / "py.typed").is_file()


class TestExamples:
    """The examples in the docstrings run as they stand, one after the other."""

    @pytest.fixture(scope="class")
    @classmethod
    def folder(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
        """Where the examples find a picture, and leave their files."""
        folder = tmp_path_factory.mktemp("examples")
        picture = bundled.locate("cifar10-resnet20").with_suffix(".png")
        shutil.copy(picture, folder / "cat.png")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DOWNSHIFT_CACHE_DIR", str(folder / "cache"))
            patch.chdir(folder)
            yield folder

    @staticmethod
    def run(thing: object, **names: object) -> dict[str, object]:
        """What the examples of a docstring leave behind."""
        assert thing.__doc__
        text = f"{inspect.cleandoc(thing.__doc__)}\n"
        blocks = re.findall(r"\n\n((?: {4}.*\n|\n(?= {4}))+)", text)
        assert blocks, thing
        space: dict[str, object] = {"downshift": downshift, **names}
        for block in blocks:
            exec(textwrap.dedent(block), space)
        return space

    @pytest.mark.parametrize("thing", [downshift, downshift.load, downshift.Model])
    def test_of_loading_and_predicting(
        self, thing: object, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        model = self.run(thing)["model"]
        assert isinstance(model, Model)
        assert "closed" in repr(model)
        if thing is not downshift.load:
            assert "sub-net s" in capsys.readouterr().out

    def test_of_predict(self, folder: Path) -> None:
        with downshift.load("cifar10-resnet20") as model:
            prediction = self.run(Model.predict, model=model)["prediction"]
        assert isinstance(prediction, downshift.Prediction)
        assert prediction.best[0].name == "ship"

    def test_of_train(self, folder: Path) -> None:
        space = self.run(downshift.train)
        assert str(space["artifact"]) == "runs/small/model.onnx"
        model = space["model"]
        assert isinstance(model, Model)
        assert len(model.labels) == 10
        model.close()
