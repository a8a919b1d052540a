"""A resolved recipe as TOML text that `downshift.trainer.recipe` reads back to the same recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from downshift.trainer.recipe import Recipe


def dumps(recipe: Recipe) -> str:
    """Every value of the recipe, defaults included, one table a section."""
    tables = (
        f"[{section}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())
        for section, values in recipe.as_dict().items()
    )
    return "\n".join(tables)


def _value(value: Any) -> str:
    """A text, number, boolean or list of them in TOML's syntax."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON escapes as TOML does, but leaves one control character alone.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower()
