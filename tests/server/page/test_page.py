from __future__ import annotations

import re

import pytest

from downshift.server.page import page
from tests.server.doubles import serving

ASSETS = tuple(sorted(path.name for path in page.FOLDER.iterdir() if path.name != "index.html"))


async def test_the_page_and_its_assets_come_from_the_package() -> None:
    async with serving() as served:
        response = await served.client.get("/")
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/html")
        assert "default-src 'none'; script-src 'self'" in response.headers["content-security-policy"]
        for asset in ASSETS:
            found = await served.client.get(f"/static/{asset}")
            assert (found.status_code, found.headers["cache-control"]) == (200, "no-cache")


@pytest.mark.parametrize("asset", ["index.html", *ASSETS])
def test_nothing_is_fetched_from_elsewhere(asset: str) -> None:
    text = (page.FOLDER / asset).read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"')]+", text)) <= {"http://www.w3.org/2000/svg"}


async def test_assets_outside_the_folder_cannot_be_reached() -> None:
    async with serving() as served:
        for path in ("/static/../page.py", "/static/%2e%2e/page.py", "/static/nothing.js"):
            response = await served.client.get(path)
            assert response.status_code == 404
            assert list(response.json()) == ["error"]


async def test_the_sub_nets_are_listed_with_what_they_are_worth_and_cost() -> None:
    async with serving() as served:
        answer = (await served.client.get("/subnets")).json()
    assert answer == {
        "model": "pets",
        "network": "scripted",
        "synthetic": False,
        "labels": ["cat", "dog", "bird"],
        "input": [3, 2, 2],
        "subnets": [
            {
                "name": "s50",
                "sparsity": 0.5,
                "accuracy": 0.9,
                "engine": "scripted",
                "p50_ms": 4.0,
                "p99_ms": 6.0,
                "dominated": False,
            },
            {
                "name": "s90",
                "sparsity": 0.9,
                "accuracy": 0.8,
                "engine": "scripted",
                "p50_ms": 1.0,
                "p99_ms": 1.5,
                "dominated": False,
            },
        ],
    }
