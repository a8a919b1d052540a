"""Bundled artifacts are found by name; a file of that name comes first."""

from __future__ import annotations

from pathlib import Path

import pytest

from downshift.models.bundled import bundled, locate
from downshift.models.errors import UnknownName


def test_every_bundled_name_is_a_file() -> None:
    assert "cifar10-resnet20" in bundled()
    assert all(locate(name).is_file() for name in bundled())


def test_an_existing_file_comes_before_the_bundled_artifact_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locate("cifar10-resnet20").is_absolute()
    Path("cifar10-resnet20").touch()
    assert locate("cifar10-resnet20") == Path("cifar10-resnet20")


def test_a_word_that_is_neither_a_file_nor_a_bundled_network_is_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'cifar10-resnet20'"):
        locate("cifar10-resnet2")


def test_any_other_name_is_a_path() -> None:
    assert locate("absent.onnx") == Path("absent.onnx")
    assert locate("../zoo/cifar10-resnet20") == Path("../zoo/cifar10-resnet20")
