"""What deploy/README.md tells operators is so."""

from __future__ import annotations

import json
import re
import shlex

import pytest

from downshift.server.settings import Settings
from downshift.server.telemetry.access_log import line
from tests.deploy.monitoring import DEPLOY, ROOT, exposed, known, named
from tests.server.telemetry.test_access_log import record
from tests.server.telemetry.test_metrics import SPECIFIED

TEXT = (DEPLOY / "README.md").read_text()
ROWS = re.findall(r"^\| `([^`]+)` \|(.*)\|$", TEXT, re.MULTILINE)


def test_every_file_has_its_row() -> None:
    files = {path.relative_to(DEPLOY).as_posix() for path in DEPLOY.rglob("*") if path.is_file()}
    assert {name for name, _ in ROWS if not name.startswith("downshift_")} == files - {"README.md"}


def test_every_metric_has_its_row_and_its_labels() -> None:
    told = {name: set(re.findall("`([a-z0-9]+)`", rest.split("|")[0])) for name, rest in ROWS}
    metrics = {name: labels for name, labels in told.items() if name.startswith("downshift_")}
    families = {
        re.sub(r"_(bucket|sum|count|created)$", "", name)
        for name in exposed()
        if name.startswith("downshift_")
    }
    assert {name.removesuffix("_created") for name in metrics} == {
        name for name in families if name + "_total" not in families
    }
    for name, labels in SPECIFIED.items():
        assert metrics[f"downshift_{name.removesuffix('_bucket')}"] == labels - {"le"}


def test_every_metric_that_is_named_exists() -> None:
    assert all(any(each == name or each.startswith(f"{name}_") for each in known()) for name in named(TEXT))


def test_every_setting_that_is_named_exists() -> None:
    for name in re.findall("DOWNSHIFT_([A-Z_]+)", TEXT):
        assert name.lower() in Settings.model_fields


def test_the_options_exist() -> None:
    from typer.main import get_command

    from downshift.cli.main import app

    options = {option for each in get_command(app).commands["serve"].params for option in each.opts}
    named_options = set(re.findall(r"`(--[a-z-]+)", TEXT))
    assert named_options <= options


def test_the_line_of_the_access_log_is_one_of_ours() -> None:
    [shown] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert json.loads(shown) == json.loads(line(record()))


@pytest.mark.parametrize("program", ["docker", "kubectl"])
def test_the_commands_name_files_that_exist(program: str) -> None:
    [block] = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    [words] = [words for each in block.splitlines() if (words := shlex.split(each))[0] == program]
    files = [word for word in words if word.startswith("deploy/")]
    assert files
    assert all((ROOT / name).is_file() for name in files)
