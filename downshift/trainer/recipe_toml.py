"""Recipes as TOML: reads one with `section.key=value` overrides, and writes a resolved one.

Parsed by hand: msgspec 0.22 was tried and accepts unknown keys of dataclasses; its errors lack the value, the
choices and the closest match. Adding those again takes as many lines as it saves.
"""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
import typing
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from downshift.trainer.errors import RecipeError
from downshift.trainer.recipe import Recipe

EXCLUDED = {"subnets.sparsities": ("patterns",), "subnets.patterns": ("sparsities", "block")}
"""Mutually exclusive keys: an override of the key removes those from its section."""


def bundled() -> tuple[str, ...]:
    """Names of the bundled recipes."""
    folder = resources.files("downshift.trainer") / "recipes"
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))


def load(name_or_path: str, overrides: typing.Sequence[str] = ()) -> Recipe:
    """The recipe of that bundled name or TOML file, with `section.key=value` overrides applied.

    Raises `RecipeError` with one sentence that names the key or file.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        if not path.is_file():
            raise RecipeError(f"recipe {name_or_path}: no such file")
        text = _read(path)
    elif name_or_path in bundled():
        text = (resources.files("downshift.trainer") / "recipes" / f"{name_or_path}.toml").read_text(
            encoding="utf-8"
        )
    else:
        raise RecipeError(
            f"unknown recipe {name_or_path!r}: choose one of {', '.join(bundled())}, or give a .toml file"
        )
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"recipe {name_or_path} is not TOML: {error}") from error
    for override in overrides:
        _override(values, override)
    return parse(values)


def _read(path: Path) -> str:
    """The text of a recipe file, without a byte-order mark."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(
            f"recipe {path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8"
        ) from error


def parse(values: dict[str, Any]) -> Recipe:
    """A recipe from nested tables; unknown keys and wrong types raise `RecipeError`."""
    return typing.cast("Recipe", _build(Recipe, values, ""))


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not (equals and dot and name):
        raise RecipeError(f"override {override!r}: write section.key=value, such as run.epochs=3")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values.setdefault(section, {})
    if not isinstance(table, dict):
        raise RecipeError(f"override {override!r}: {section} is not a section")
    for other in EXCLUDED.get(key.strip(), ()):
        table.pop(other, None)
    table[name] = value


def _build(kind: type, values: Any, prefix: str) -> Any:
    if not isinstance(values, dict):
        raise RecipeError(f"{prefix or 'recipe'} = {values!r}: a table is needed")
    hints = typing.get_type_hints(kind)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for key in values:
        if key not in fields:
            close = get_close_matches(key, fields, n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise RecipeError(f"unknown recipe key '{prefix}{key}': {hint}known are {', '.join(fields)}")
    required = [
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
        and name not in values
    ]
    if required:
        raise RecipeError(f"recipe key '{prefix}{required[0]}' is missing")
    return kind(**{key: _value(hints[key], value, f"{prefix}{key}") for key, value in values.items()})


def _value(hint: Any, value: Any, key: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast("type", hint), value, f"{key}.")
    origin = typing.get_origin(hint)
    if origin is Literal:
        if value in typing.get_args(hint):
            return value
        raise RecipeError(f"recipe key {key} = {value!r}: choose one of {', '.join(typing.get_args(hint))}")
    if origin is tuple:
        if isinstance(value, list):
            return tuple(_value(typing.get_args(hint)[0], v, key) for v in value)
        raise RecipeError(f"recipe key {key} = {value!r}: a list is needed, such as [..., ...]")
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        if math.isfinite(value):
            return float(value)
    elif isinstance(hint, type) and type(value) is hint:
        return value
    kind = {float: "a finite number", int: "a whole number", bool: "true or false", str: "a text"}[hint]
    raise RecipeError(f"recipe key {key} = {value!r}: {kind} is needed")


def dumps(recipe: Recipe) -> str:
    """All values of the recipe, defaults included, one table per section."""
    tables = (
        f"[{section}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items())
        for section, values in recipe.as_dict().items()
    )
    return "\n".join(tables)


def _toml(value: Any) -> str:
    """A string, number, boolean or list of them in TOML syntax."""
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        # JSON and TOML escape alike, except that JSON leaves DEL unescaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower()
