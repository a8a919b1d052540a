"""The manifest as JSON: deterministic to write, strict to read.

Reading names the field that is wrong in an `ArtifactError`, as in `manifest.subnets[2].sparsity`.

Parsed by hand: with msgspec or pydantic the limits against hostile files (sizes, depth, unprintable text,
repeated keys) and the offending value in errors would still be ours, and serving has a dependency fewer.
"""

from __future__ import annotations

import dataclasses
import json
import math
import unicodedata
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from downshift.models.errors import ArtifactError, SpecError
from downshift.models.pattern import Pattern, parse_pattern
from downshift.models.spec import InputSpec, Int8Spec, LayerSpec, Manifest, NormSpec, Provenance, SubnetSpec

if TYPE_CHECKING:
    from collections.abc import Callable

Parsed = TypeVar("Parsed")

LARGEST = 2**63 - 1
LONGEST_TEXT = 4096
DEEPEST = 16
LONGEST_SHOWN = 60
UNPRINTABLE = frozenset(("Cc", "Cs", "Zl", "Zp"))  # control characters, lone surrogates, line ends
OPTIONAL = frozenset({"int8", "standard_error"})
"""Keys that are absent, not null, where there is nothing to say."""


def to_dict(manifest: Manifest) -> dict[str, Any]:
    """The manifest as JSON values: dicts, lists, text, numbers, booleans and None."""
    return cast("dict[str, Any]", _plain(manifest))


def dumps(manifest: Manifest) -> str:
    """The manifest as indented JSON text with sorted keys: equal manifests give equal text.

    Raises `SpecError` when the provenance holds something JSON cannot.
    """
    try:
        text = json.dumps(to_dict(manifest), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise SpecError(f"manifest: {error}; provenance holds finite JSON values, text is Unicode") from error
    return text


def loads(text: str | bytes) -> Manifest:
    """The manifest in JSON text; raises `ArtifactError` naming the field that is wrong."""
    try:
        value = json.loads(
            text, parse_float=_number, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object
        )
    except (ValueError, RecursionError) as error:
        raise ArtifactError(
            "manifest", f"not the JSON of a manifest ({error}); export the artifact again"
        ) from error
    return from_dict(value)


def from_dict(value: object) -> Manifest:
    """The manifest in JSON values; raises `ArtifactError` naming the field that is wrong."""
    fields = _Fields("manifest", value, Manifest)
    return fields.build(
        Manifest,
        schema=fields.integer("schema"),
        network=fields.text("network"),
        subnets=fields.each("subnets", _subnet),
        input=_input(fields.path("input"), fields.get("input")),
        output=fields.text("output"),
        labels=fields.texts("labels"),
        masks=fields.text("masks"),
        layers=fields.each("layers", _layer),
        norms=fields.each("norms", _norm),
        provenance=_provenance(fields.path("provenance"), fields.get("provenance")),
        sha256=fields.text("sha256"),
    )


def _plain(value: object) -> object:
    if isinstance(value, Pattern):
        return str(value)
    if dataclasses.is_dataclass(value):
        values = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return {name: _plain(one) for name, one in values.items() if not (name in OPTIONAL and one is None)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number {text[:40]} is out of range")
    return value


def _integer(text: str) -> int:
    if len(text) > len(str(LARGEST)) + 1 or abs(int(text)) > LARGEST:
        raise ValueError(f"integer {text[:40]} is out of range")
    return int(text)


def _constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a finite number")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError(f"a key is repeated among {sorted(key for key, _ in pairs)[:40]}")
    return value


def _subnet(path: str, value: object) -> SubnetSpec:
    fields = _Fields(path, value, SubnetSpec)
    try:
        pattern = parse_pattern(fields.text("pattern"))
    except SpecError as error:
        raise ArtifactError(fields.path("pattern"), str(error)) from error
    return fields.build(
        SubnetSpec,
        name=fields.text("name"),
        sparsity=fields.real("sparsity"),
        pattern=pattern,
        accuracy=None if fields.get("accuracy") is None else fields.real("accuracy"),
        flops=fields.integer("flops"),
        nonzeros=fields.integer("nonzeros"),
        int8=None if fields.get("int8") is None else _int8(fields.path("int8"), fields.get("int8")),
        standard_error=None if fields.get("standard_error") is None else fields.real("standard_error"),
    )


def _int8(path: str, value: object) -> Int8Spec:
    fields = _Fields(path, value, Int8Spec)
    ranges = {name: fields.pair(name, item) for name, item in fields.mapping("ranges").items()}
    accuracy = None if fields.get("accuracy") is None else fields.real("accuracy")
    error = None if fields.get("standard_error") is None else fields.real("standard_error")
    return fields.build(Int8Spec, accuracy=accuracy, ranges=ranges, standard_error=error)


def _input(path: str, value: object) -> InputSpec:
    fields = _Fields(path, value, InputSpec)
    return fields.build(
        InputSpec,
        name=fields.text("name"),
        channels=fields.integer("channels"),
        height=fields.integer("height"),
        width=fields.integer("width"),
        mean=fields.reals("mean"),
        std=fields.reals("std"),
        resize=None if fields.get("resize") is None else fields.integer("resize"),
        interpolation=fields.text("interpolation"),
    )


def _layer(path: str, value: object) -> LayerSpec:
    fields = _Fields(path, value, LayerSpec)
    return LayerSpec(weight=fields.text("weight"), shape=fields.shape("shape"))


def _norm(path: str, value: object) -> NormSpec:
    fields = _Fields(path, value, NormSpec)
    return NormSpec(
        scale=fields.text("scale"),
        bias=fields.text("bias"),
        mean=fields.text("mean"),
        var=fields.text("var"),
        channels=fields.positive("channels"),
    )


def _provenance(path: str, value: object) -> Provenance:
    fields = _Fields(path, value, Provenance)
    return Provenance(
        recipe=fields.mapping("recipe"),
        seed=fields.integer("seed"),
        dataset=fields.text("dataset"),
        versions={
            key: _text(fields.path(f"versions.{key}"), item)
            for key, item in fields.mapping("versions").items()
        },
        commit=fields.text("commit"),
        synthetic=fields.boolean("synthetic"),
    )


class _Fields:
    """Typed access to one JSON object whose keys must be exactly the fields of `spec`."""

    def __init__(self, path: str, value: object, spec: type) -> None:
        self._path = path
        if not isinstance(value, dict):
            raise ArtifactError(path, f"{_shown(value)} is not an object")
        known = {field.name for field in dataclasses.fields(spec)}
        if missing := known - OPTIONAL - value.keys():
            raise ArtifactError(f"{path}.{min(missing)}", "is missing; export the artifact again")
        if unknown := value.keys() - known:
            raise ArtifactError(
                path, f"unknown key {_shown(min(map(str, unknown)))}; known are {', '.join(sorted(known))}"
            )
        self._value = value

    def path(self, key: str) -> str:
        return f"{self._path}.{key}"

    def get(self, key: str) -> object:
        return self._value.get(key)

    def text(self, key: str) -> str:
        return _text(self.path(key), self._value[key])

    def texts(self, key: str) -> tuple[str, ...]:
        return self.each(key, _text)

    def integer(self, key: str) -> int:
        return _whole(self.path(key), self._value[key])

    def positive(self, key: str) -> int:
        return _positive(self.path(key), self._value[key])

    def real(self, key: str) -> float:
        return _real(self.path(key), self._value[key])

    def reals(self, key: str) -> tuple[float, ...]:
        return self.each(key, _real)

    def shape(self, key: str) -> tuple[int, ...]:
        shape = self.each(key, _positive)
        if not shape or math.prod(shape) > LARGEST:
            raise ArtifactError(self.path(key), f"{_shown(shape)} is not the shape of a weight")
        return shape

    def pair(self, key: str, value: object) -> tuple[float, float]:
        """Two numbers; `key` only names them in an error."""
        if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004 - a pair
            raise ArtifactError(self.path(key), f"{_shown(value)} is not a pair of numbers")
        return _real(self.path(key), value[0]), _real(self.path(key), value[1])

    def boolean(self, key: str) -> bool:
        value = self._value[key]
        if not isinstance(value, bool):
            raise ArtifactError(self.path(key), f"{_shown(value)} is not true or false")
        return value

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._value[key]
        if not isinstance(value, dict):
            raise ArtifactError(self.path(key), f"{_shown(value)} is not an object")
        _check_json(self.path(key), value, DEEPEST)
        return value

    def each(self, key: str, parse: Callable[[str, object], Parsed]) -> tuple[Parsed, ...]:
        value = self._value[key]
        if not isinstance(value, list):
            raise ArtifactError(self.path(key), f"{_shown(value)} is not a list")
        return tuple(parse(f"{self.path(key)}[{index}]", item) for index, item in enumerate(value))

    def build(self, make: Callable[..., Parsed], **values: object) -> Parsed:
        try:
            return make(**values)
        except SpecError as error:
            raise ArtifactError(self._path, str(error)) from error


def _text(path: str, value: object) -> str:
    if not isinstance(value, str):
        raise ArtifactError(path, f"{_shown(value)} is not text")
    if len(value) > LONGEST_TEXT:
        raise ArtifactError(path, f"{_shown(value)} is longer than {LONGEST_TEXT} characters")
    # Control characters would reach terminals and HTTP headers; lone surrogates have no UTF-8.
    if any(unicodedata.category(character) in UNPRINTABLE for character in value):
        raise ArtifactError(path, f"{_shown(value)} holds an unprintable character")
    return value


def _whole(path: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ArtifactError(path, f"{_shown(value)} is not an integer")
    if abs(value) > LARGEST:
        raise ArtifactError(path, f"{_shown(value)} is out of range")
    return value


def _positive(path: str, value: object) -> int:
    number = _whole(path, value)
    if number < 1:
        raise ArtifactError(path, f"{number} is not positive")
    return number


def _real(path: str, value: object) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ArtifactError(path, f"{_shown(value)} is not a number")
    if abs(value) > LARGEST if isinstance(value, int) else not math.isfinite(value):
        raise ArtifactError(path, f"{_shown(value)} is out of range")
    return float(value)


def _check_json(path: str, value: object, depth: int) -> None:
    """Raise unless `value` is finite JSON at most `depth` deep whose text UTF-8 can hold."""
    if depth == 0:
        raise ArtifactError(path, f"nested deeper than {DEEPEST} levels")
    match value:
        case dict():
            for key, item in value.items():
                _check_json(path, key, depth - 1)
                _check_json(f"{path}.{key}" if isinstance(key, str) else path, item, depth - 1)
        case list():
            for index, item in enumerate(value):
                _check_json(f"{path}[{index}]", item, depth - 1)
        case str():
            if any(unicodedata.category(character) == "Cs" for character in value):
                raise ArtifactError(path, f"{_shown(value)} is not Unicode text")
        case None | bool():
            pass
        case _:
            _real(path, value)


def _shown(value: object) -> str:
    """The value in ASCII, cut to a length that fits an error message."""
    text = ascii(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."
