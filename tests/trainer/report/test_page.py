"""The report: one page that needs nothing else, the same for the same findings."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from downshift.models.spec import Provenance
from downshift.trainer.report import plots
from downshift.trainer.report.page import PAGE, Findings, report_files
from tests.models.tiny_artifact import tiny_artifact


def epoch(number: int, correction: bool = True) -> dict[str, Any]:
    record: dict[str, Any] = {
        "step": 10 * number,
        "epoch": number,
        "loss": {"s0": 1.0 / number, "s1": 1.5 / number, "s2": 2.0 / number},
        "validation": {"s0": 0.5, "s1": 0.4, "s2": 0.3},
    }
    if correction:
        record["correction"] = {"firing_rate": 0.25 * number, "mean_cosine": -0.125}
    return record


def findings(**changes: Any) -> Findings:
    artifact = tiny_artifact(provenance=Provenance({"run": {}}, 42, "digits <&>", {"torch": "9.9"}, "c0ffee"))
    subnets = tuple(
        replace(subnet, accuracy=accuracy)
        for subnet, accuracy in zip(artifact.manifest.subnets, (0.75, 0.5, 0.25), strict=True)
    )
    artifact = replace(artifact, manifest=replace(artifact.manifest, subnets=subnets))
    found = Findings(
        artifact,
        {"s0": 0.7, "s1": 0.45, "s2": 0.2},
        [epoch(1), epoch(2), {"step": 20, "test": {}}],
        "[run]\nepochs = 2\n",
    )
    return replace(found, **changes)


@dataclass
class Page(HTMLParser):
    """What of a page the tests look at: cells of tables, images, links, texts."""

    cells: list[str] = field(default_factory=list)
    images: list[dict[str, str | None]] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__()
        self._cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self._cell = tag == "td"
        if tag == "img":
            self.images.append(attributes)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("data:")]

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._cell:
            self.cells.append(data)
            self._cell = False


def parsed(files: dict[str, bytes]) -> Page:
    page = Page()
    page.feed(files[PAGE].decode())
    return page


def test_the_table_tells_what_every_sub_net_is_and_is_worth() -> None:
    found = findings()
    cells = parsed(report_files(found)).cells
    for subnet, validation, test in zip(
        found.artifact.manifest.subnets,
        ("75.00%", "50.00%", "25.00%"),
        ("70.00%", "45.00%", "20.00%"),
        strict=True,
    ):
        at = cells.index(subnet.name)
        assert cells[at : at + 7] == [
            subnet.name,
            f"{subnet.sparsity:.2%}",
            "unstructured",
            validation,
            test,
            f"{subnet.flops / 1e6:.2f}",
            str(subnet.nonzeros),
        ]


def test_it_names_recipe_seed_versions_and_commit_and_escapes_what_it_names() -> None:
    page = parsed(report_files(findings()))
    for said in ("tiny on digits <&>", "[run]\nepochs = 2\n", "42", "9.9", "c0ffee"):
        assert said in page.text


def test_the_page_needs_no_other_file_and_its_pictures_lie_beside_it_too() -> None:
    files = report_files(findings())
    page = parsed(files)
    assert page.outside == []
    embedded = {base64.b64decode((image["src"] or "").partition(",")[2]) for image in page.images}
    assert embedded == {content for name, content in files.items() if name.endswith(".png")}
    assert set(files) == {"report.html", "accuracy.png", "curves.png", "layers.png", "correction.png"}


def test_every_picture_says_in_words_what_it_shows() -> None:
    alts = [image["alt"] or "" for image in parsed(report_files(findings())).images]
    assert "s2 at" in alts[0]
    assert "25.00% and 20.00%" in alts[0]
    assert "s0: loss 0.500, accuracy 50.00%" in alts[1]
    assert "each of 2 masked layers" in alts[2]
    assert "from 25.0% to 50.0%, at the end 50.0%; mean cosine at the end -0.1250" in alts[3]


def test_it_reads_in_the_dark_and_in_the_light() -> None:
    html = report_files(findings())[PAGE].decode()
    assert "color-scheme: light dark" in html
    assert "prefers-color-scheme: dark" in html


def test_equal_findings_give_equal_bytes() -> None:
    assert report_files(findings()) == report_files(findings())


def test_a_run_without_correction_or_without_epochs_shows_no_empty_picture() -> None:
    without = report_files(findings(records=[epoch(1, correction=False)]))
    assert set(without) == {"report.html", "accuracy.png", "curves.png", "layers.png"}
    assert set(report_files(findings(records=[]))) == {"report.html", "accuracy.png", "layers.png"}


def pixels(plot: plots.Plot) -> np.ndarray[Any, Any]:
    return np.asarray(Image.open(io.BytesIO(plot.png)).convert("RGB"))


@pytest.mark.parametrize("count", [1, 5])
def test_pictures_show_their_numbers(count: int) -> None:
    """Other numbers, other pictures; a single epoch is visible as a point."""
    names = [f"s{index}" for index in range(count)]
    sparsities = {name: index / 10 for index, name in enumerate(names)}
    one, other = (dict.fromkeys(names, value) for value in (0.5, 0.6))
    first = plots.accuracy(sparsities, one, one)
    assert not np.array_equal(pixels(first), pixels(plots.accuracy(sparsities, one, other)))
    record = {"epoch": 1, "loss": one, "validation": one}
    low = {**record, "loss": {**one, "s0": 0.1}}
    assert not np.array_equal(pixels(plots.curves([record], names)), pixels(plots.curves([low], names)))
    coloured = np.ptp(pixels(plots.curves([record], names)).reshape(-1, 3), axis=1) > 60
    assert coloured.sum() > 50


def test_many_layers_are_numbered_rather_than_named() -> None:
    layers = [f"layer{index}" for index in range(100)]
    plot = plots.layer_sparsity(layers, {"s50": [0.5] * 100})
    assert re.fullmatch(r"Sparsity of each of 100 masked layers. s50 from 50.0% to 50.0%.", plot.alt)
    assert pixels(plot).shape == (480, 960, 3)
