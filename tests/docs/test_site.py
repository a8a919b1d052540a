"""The documentation builds without a broken link, and its pictures show what the committed files hold."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from docs.tools import draw, front, repository_links
from tests.docs.pages import DOCS, PAGES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

BUILD = (sys.executable, "-m", "properdocs", "build", "--strict", "--config-file", "docs/tools/mkdocs.yml")


def test_the_site_builds_strictly_and_holds_every_page(tmp_path: Path) -> None:
    done = subprocess.run(
        [*BUILD, "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    assert {page.stem for page in PAGES} <= {page.stem for page in tmp_path.glob("*.html")}
    assert not (tmp_path / "tools").exists()


def test_a_link_to_a_file_of_the_repository_becomes_its_path() -> None:
    written = repository_links.on_page_markdown("[the race](../Makefile), [`Makefile`](../Makefile#top)")
    assert written == "the race (`Makefile`), `Makefile`"
    assert repository_links.on_page_markdown("[`README.md`](../deploy/README.md)") == "`deploy/README.md`"


def test_a_link_to_a_file_that_is_not_in_the_repository_breaks_the_build() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        repository_links.on_page_markdown("[gone](../nowhere.md)")


@pytest.mark.parametrize("name", draw.PICTURES)
def test_a_committed_picture_is_what_its_sources_give(name: str) -> None:
    committed = (DOCS / "pictures" / name).read_text(encoding="utf-8")
    assert committed == draw.PICTURES[name](), "run python -m docs.tools.draw"


def test_the_front_has_every_sub_net_of_the_bundled_network_and_every_dense_engine() -> None:
    points = front.points()
    for engine, suffix in (("sparse", ""), ("sparse-int8", "-int8")):
        ours = [point for point in points if point.engine == engine]
        assert [point.subnet for point in ours] == [f"s{n}{suffix}" for n in (50, 80, 90, 95, 98)]
        assert sorted(ours, key=lambda point: -point.seconds) == ours
    assert {point.engine for point in points} == {*front.OUR_ENGINES, *front.DENSE_ENGINES}
    dense = {point.subnet for point in points if point.engine not in front.OUR_ENGINES}
    assert dense == {"s50", "s50-int8"}
