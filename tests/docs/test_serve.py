"""What docs/serve.md says about endpoints, headers, statuses and settings is what the server does."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest

from docs.tools import settings_table
from downshift.server.demand import SOURCES
from downshift.server.errors import CLIENT_CLOSED_REQUEST, ERRORS
from downshift.server.settings import Settings
from tests.docs.pages import DOCS, ROOT, blocks, curl, local
from tests.server.process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "serve.md"
TEXT = PAGE.read_text(encoding="utf-8")
NETWORK = ROOT / "downshift/models/zoo/cifar10-resnet20.onnx"
UNDESCRIBED = {"GET /", "GET /events", "GET /openapi.json"}
CURL = [line for block in blocks(PAGE, "sh") for line in block.text.splitlines() if line.startswith("curl")]
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a server of the bundled network answers."""
    model = tmp_path_factory.mktemp("serve") / NETWORK.name
    shutil.copyfile(NETWORK, model)
    with ServerProcess(model, {"DOWNSHIFT_TUNE": "false"}) as server:
        yield server.url


def section(title: str) -> str:
    """The text below that heading, to the next one."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def first_cells(title: str) -> list[str]:
    """The first cell of every row of the section's table, the head left out."""
    rows = re.findall(r"^\| *(.*?) *\|", section(title), re.MULTILINE)
    return [cell for cell in rows if not set(cell) <= {"-"}][1:]


def test_the_settings_are_those_of_the_code() -> None:
    assert settings_table.written(TEXT) == TEXT, "run python -m docs.tools.settings_table"


def test_every_setting_has_one_row_with_a_meaning() -> None:
    rows = dict(re.findall(r"^\| `DOWNSHIFT_(\w+)` \|.*\| (.*) \|$", section("Settings"), re.MULTILINE))
    assert {name.lower() for name in rows} == set(Settings.model_fields)
    assert all(re.match("[a-z]", meaning) for meaning in rows.values())


def test_every_status_is_told() -> None:
    told = {int(cell) for cell in first_cells("Statuses")}
    assert told == {row.status for row in ERRORS.values() if row.status} | {HTTPStatus.INTERNAL_SERVER_ERROR}
    assert CLIENT_CLOSED_REQUEST in told


def test_every_header_that_grants_a_budget_is_told() -> None:
    told = {name.lower() for name in re.findall(r"`([A-Z][A-Za-z-]+)`", section("Request headers"))}
    assert set(SOURCES) <= told


@needs_curl
@pytest.mark.parametrize("line", CURL)
def test_the_server_answers_every_command(line: str, url: str) -> None:
    answer = json.loads(curl(*shlex.split(local(line, url))[1:]))
    if "X-Subnet: s98" in line:
        assert answer["subnet"] == "s98"
    if "top_k=3" in line:
        assert len(answer["predictions"]) == 3


@needs_curl
def test_every_endpoint_of_the_server_is_told_and_no_other(url: str) -> None:
    paths = json.loads(curl(f"{url}/openapi.json"))["paths"]
    described = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    rows = re.findall(r"^\| (GET|POST) \| `(.*?)` \|", section("Endpoints"), re.MULTILINE)
    versioned = {each for each in described if "/versions/{version}" in each}
    assert {f"{method} {path}" for method, path in rows} - UNDESCRIBED == described - versioned
    plain = {each.replace("/versions/{version}", "") for each in versioned}
    assert plain == {each for each in described - versioned if "/v2/models/{name}" in each}


@needs_curl
def test_every_header_that_answers_an_inference_is_told(url: str) -> None:
    picture = f"@{NETWORK.with_suffix('.png')}"
    budget, trace = "X-Latency-Budget-Ms: 50000", f"traceparent: 00-{'1' * 32}-{'2' * 16}-01"
    head = curl(
        "-D", "-", "-o", "/dev/null", "--data-binary", picture, "-H", budget, "-H", trace, f"{url}/predict"
    )
    sent = {line.partition(":")[0].lower() for line in head.splitlines()[1:] if ":" in line}
    told = {name.lower() for name in re.findall(r"`([A-Z][A-Za-z-]+)`", section("Response headers"))}
    assert sent - {"content-length", "content-type", "date"} <= told
    assert {"x-subnet", "server-timing", "x-latency-budget-remaining-ms", "traceresponse"} <= sent
