"""Writes the table of settings into `docs/serve.md`: `python -m docs.tools.settings_table`."""

from __future__ import annotations

import re
import types
import typing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr
from typer.main import get_command

from downshift.cli.main import app
from downshift.server.settings import Settings

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

PAGE = Path(__file__).parents[1] / "serve.md"
BEGIN, END = "<!-- settings: written by docs/tools/settings_table.py -->", "<!-- end of settings -->"
SIZE = 2**20


def table() -> str:
    """Every setting as a row: variable, option of `downshift serve`, default, meaning."""
    serve: Any = typing.cast("Any", get_command(app)).commands["serve"]
    options = {parameter.name: parameter.opts[0] for parameter in serve.params if parameter.opts}
    rows = ["| variable | option | default | |", "|---|---|---|---|"]
    for name, field in Settings.model_fields.items():
        option = f"`{options[name]}`" if name in options else ""
        meaning = (field.description or "").replace("|", "\\|")
        cells = f"`DOWNSHIFT_{name.upper()}`", option, default(field), f"{meaning}{limits(field)}"
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def default(field: FieldInfo) -> str:
    """The default as an environment variable would spell it; a hyphen for none."""
    value = field.default
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, float) and value < SIZE else f"`{value}`"


def limits(field: FieldInfo) -> str:
    """The least and the largest value, in brackets, where there are any."""
    bounds = []
    for name, sign in (("gt", ">"), ("ge", "≥"), ("le", "≤")):
        bounds += [
            f"{sign} {bound}" for each in field.metadata if (bound := getattr(each, name, None)) is not None
        ]
    return f" ({kind(field)}{', '.join(bounds)})" if bounds else ""


def kind(field: FieldInfo) -> str:
    """The word for a number that has no fraction; nothing for any other type."""
    hint = field.annotation
    members = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return "whole, " if int in members else ""


def written(page: str) -> str:
    """The page with the table of today between its two marks."""
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    return pattern.sub(lambda _: f"{BEGIN}\n\n{table()}\n\n{END}", page)


def main() -> None:
    """Write the table."""
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
