"""Following a page in an empty folder gives what it promises: its blocks run, in order, as they stand."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from downshift.models import artifact
from tests.docs.pages import DOCS, blocks, follow

if TYPE_CHECKING:
    from pathlib import Path


def test_own_images_become_an_artifact_of_their_classes(tmp_path: Path) -> None:
    printed = follow(DOCS / "tutorial-own-data.md", tmp_path)
    manifest = artifact.read(tmp_path / "runs/textures/model.onnx").manifest
    assert manifest.labels == ("columns", "rows", "spots")
    assert manifest.names == ("s50", "s80")
    assert (tmp_path / "s80.onnx").is_file()
    assert (tmp_path / "runs/textures/report.html").is_file()
    assert any(label in printed for label in manifest.labels)


def test_an_own_network_becomes_an_artifact_that_tells_rings_from_discs(tmp_path: Path) -> None:
    follow(DOCS / "tutorial-own-network.md", tmp_path)
    manifest = artifact.read(tmp_path / "rings.onnx").manifest
    assert manifest.network == "RingNet"
    assert [subnet.name for subnet in manifest.subnets] == ["s50", "s90"]
    assert all((subnet.accuracy or 0.0) > 0.8 for subnet in manifest.subnets)
    assert all(0.0 <= (subnet.standard_error or 0.0) < 0.02 for subnet in manifest.subnets)
    in_recipe = artifact.read(tmp_path / "runs/rings/model.onnx").manifest
    assert in_recipe.network == "rings.py:RingNet"
    tuned = artifact.read(tmp_path / "runs/finetuned/model.onnx").manifest
    assert tuned.provenance.recipe["network"]["init"] == "dense.pt"
    assert [subnet.name for subnet in tuned.subnets] == ["s50", "s80", "s90"]


def test_its_loop_is_short() -> None:
    program = next(b for b in blocks(DOCS / "tutorial-own-network.md") if b.file == "train_rings.py")
    assert len(program.text.splitlines()) <= 25


@pytest.mark.parametrize(
    ("page", "missing", "file"),
    [
        ("tutorial-lightning", find_spec("pytorch_lightning") is None, "rings.onnx"),
        ("tutorial-timm", find_spec("timm") is None, "vit.onnx"),
    ],
)
def test_others_training_code_becomes_an_artifact(
    page: str, missing: bool, file: str, tmp_path: Path
) -> None:
    if missing:
        pytest.skip("pip install -e '.[dev]'")
    for block in blocks(DOCS / "tutorial-own-network.md"):
        if block.file == "rings.py":
            (tmp_path / block.file).write_text(block.text)
    follow(DOCS / f"{page}.md", tmp_path)
    subnets = artifact.read(tmp_path / file).manifest.subnets
    assert [subnet.accuracy is not None and subnet.accuracy > 0.7 for subnet in subnets] == [True, True]


def test_the_python_api_does_what_its_page_shows(tmp_path: Path) -> None:
    printed = follow(DOCS / "python-api.md", tmp_path)
    assert "['s50', 's80', 's90', 's95', 's98']" in printed
    assert "DeadlineImpossible" in printed
    assert artifact.read(tmp_path / "runs/small/model.onnx").manifest.provenance.dataset == "digits"


def test_every_extension_works_as_its_page_shows(tmp_path: Path) -> None:
    printed = follow(DOCS / "extend.md", tmp_path)
    assert "both engines answer the same" in printed
    assert "second-best: " in printed


@pytest.mark.parametrize("page", ["tutorial-own-data", "tutorial-own-network", "python-api", "extend"])
def test_a_page_that_is_followed_has_blocks_to_run(page: str) -> None:
    text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
    assert text.count("```python\n") + text.count("```sh\n") >= 2
