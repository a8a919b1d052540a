"""Writes a resolved recipe as TOML; `downshift.trainer.recipe` reads it back to an equal recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from downshift.trainer.recipe import Recipe


def dumps(recipe: Recipe) -> str:
    """All values of the recipe, defaults included, one table per section."""
    tables = (
        f"[{section}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in values.items())
        for section, values in recipe.as_dict().items()
    )
    return "\n".join(tables)


def _value(value: Any) -> str:
    """A string, number, boolean or list of them in TOML syntax."""
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON and TOML escape alike, except that JSON leaves DEL unescaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower()
