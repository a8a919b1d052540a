"""Names and figures in the documentation are those of the code."""

from __future__ import annotations

import re
import shlex
from dataclasses import fields
from typing import TYPE_CHECKING, Any, cast

import pytest
from typer.main import get_command

from downshift.cli.main import app
from downshift.models import artifact, stacks
from downshift.models.manifest_json import to_dict
from downshift.models.spec import MOST_SUBNETS, SCHEMA, InputSpec, Manifest
from downshift.server.settings import Settings
from tests.docs.pages import DOCS, PAGES, ROOT, blocks, follow
from tests.models.tiny_artifact import tiny_manifest, tiny_masks

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = (DOCS / "artifact-format.md").read_text(encoding="utf-8")
TEXTS = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
COMMANDS: dict[str, Any] = cast("Any", get_command(app)).commands


def commands(text: str) -> list[list[str]]:
    """Every `downshift` command of a page, in a block or between backticks, split into words."""
    inline = re.findall(r"`(downshift [a-z]+ [^`\n]*)`", text)
    shown = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [line for block in shown for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line, comments=True) for line in (*inline, *lines) if line.startswith("downshift ")]


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_and_option_exists(page: str) -> None:
    for _, command, *arguments in commands(TEXTS[page]):
        known = {option for each in COMMANDS[command].params for option in each.opts + each.secondary_opts}
        assert {word for word in arguments if word.startswith("-")} <= known | {"--help"}, (
            command,
            arguments,
        )


@pytest.mark.parametrize("page", TEXTS)
def test_every_setting_that_is_named_exists(page: str) -> None:
    for name in re.findall("DOWNSHIFT_([A-Z_]+)", TEXTS[page]):
        assert name.lower() in Settings.model_fields


@pytest.mark.parametrize("page", TEXTS)
def test_every_make_target_that_is_named_exists(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z -]*):", makefile, re.MULTILINE))
    named = {word for target in targets for word in target.split()}
    for target in re.findall(r"`make ([a-z-]+)", TEXTS[page]):
        assert target in named


def test_the_format_names_the_manifests_key_and_its_schema() -> None:
    assert f'`metadata_props["{artifact.MANIFEST_KEY}"]`, schema {SCHEMA}.' in FORMAT
    assert f"| most sub-nets | | {MOST_SUBNETS} |" in FORMAT
    assert f"{artifact.LARGEST_FILE + 1}" == str(2 * 2**30)
    assert "| largest file | | 2 GiB − 1 byte |" in FORMAT  # noqa: RUF001


def test_the_format_names_every_kind_of_stack() -> None:
    told = set(re.findall(r"`(downshift\.[a-z]+)/<", FORMAT))
    used = set()
    for encoding in ("levels", "bitmaps"):
        manifest = tiny_manifest(tiny_masks(2), cast("Any", encoding))
        used |= {name.partition("/")[0] for name in stacks.tensor_names(manifest)}
    assert told == used


def test_the_format_names_every_field_of_the_manifest() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", FORMAT, re.MULTILINE))
    assert set(rows) == {field.name for field in fields(Manifest)}
    manifest = to_dict(tiny_manifest(tiny_masks(2)))
    for name, inner in manifest.items():
        example = inner[0] if isinstance(inner, list) and inner else inner
        if isinstance(example, dict):
            assert set(example) <= set(re.findall(r"`(\w+)`", rows[name])), name
    assert {field.name for field in fields(InputSpec)} == set(re.findall(r"`(\w+)`", rows["input"]))


def test_the_simulation_in_concepts_runs(tmp_path: Path) -> None:
    assert blocks(DOCS / "concepts.md", "sh")
    printed = follow(DOCS / "concepts.md", tmp_path)
    assert all(policy in printed for policy in ("downshift", "slackfit", "oracle"))


def test_deploy_names_files_that_exist() -> None:
    files = [
        word
        for block in blocks(DOCS / "deploy.md", "sh")
        for word in shlex.split(block.text)
        if word.startswith("deploy/")
    ]
    assert len(files) == 3
    assert all((ROOT / name).is_file() for name in files)
