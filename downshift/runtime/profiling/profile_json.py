"""A profile as JSON: what `downshift profile --json` prints, and the file it is kept in."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, fields
from typing import Any

from downshift.runtime.errors import ProfileError
from downshift.runtime.machine import Machine
from downshift.runtime.profiling.profile import Measurement, Profile

SCHEMA = 1


def rows(profile: Profile) -> list[dict[str, Any]]:
    """One JSON object per measurement, its fields in the order they are declared; seconds and ratios."""
    return [asdict(measurement) for measurement in profile.measurements]


def dumps(profile: Profile) -> str:
    """The whole profile as JSON text; `loads` gives an equal value back."""
    return json.dumps(document(profile), indent=1)


def document(profile: Profile) -> dict[str, Any]:
    """The whole profile as a JSON object; `parse` gives an equal value back."""
    return {
        "schema": SCHEMA,
        "artifact": profile.artifact,
        "machine": asdict(profile.machine),
        "measurements": rows(profile),
    }


def loads(text: str | bytes) -> Profile:
    """The profile that `dumps` wrote; raises `ProfileError` for anything else."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ProfileError(f"not a profile ({type(error).__name__}: {error}); measure again") from error
    return parse(found)


def parse(found: Any) -> Profile:
    """The profile in the object that `document` made; raises `ProfileError` for anything else."""
    try:
        if found["schema"] != SCHEMA:
            raise ProfileError(f"profile schema {found['schema']!r}: this version reads {SCHEMA}")
        machine = found["machine"]
        return _checked(
            Profile(
                artifact=_text(found["artifact"]),
                machine=Machine(
                    cpu=_text(machine["cpu"]),
                    cores=_count(machine["cores"]),
                    gpus=tuple(_text(gpu) for gpu in machine["gpus"]),
                    threads=_count(machine["threads"]),
                    versions={_text(name): _text(version) for name, version in machine["versions"].items()},
                ),
                measurements=tuple(_measurement(row) for row in found["measurements"]),
            )
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProfileError(f"not a profile ({type(error).__name__}: {error}); measure again") from error


def _measurement(row: dict[str, Any]) -> Measurement:
    if set(row) != {field.name for field in fields(Measurement)}:
        raise ValueError(f"a measurement with fields {sorted(row)}")
    p50, p95, p99 = (_number(row[name]) for name in ("p50", "p95", "p99"))
    if not 0.0 < p50 <= p95 <= p99:
        raise ValueError(f"latencies p50 {p50}, p95 {p95}, p99 {p99} must ascend from above 0")
    if not isinstance(row["chosen"], bool):
        raise ValueError(f"chosen {row['chosen']!r}")
    return Measurement(
        subnet=_text(row["subnet"]),
        sparsity=_number(row["sparsity"]),
        accuracy=None if row["accuracy"] is None else _number(row["accuracy"]),
        engine=_text(row["engine"]),
        batch_size=_count(row["batch_size"]),
        p50=p50,
        p95=p95,
        p99=p99,
        chosen=row["chosen"],
    )


def _checked(profile: Profile) -> Profile:
    """The profile, if each sub-net has one chosen engine per batch size and no measurement is missing.

    Engines that were hopeless were not measured at the larger sizes; what is left has no gaps.
    """
    sizes = {m.batch_size for m in profile.measurements}
    names = {m.subnet for m in profile.measurements}
    chosen = sorted((m.subnet, m.batch_size) for m in profile.measurements if m.chosen)
    if 1 not in sizes or chosen != sorted((name, size) for name in names for size in sizes):
        raise ValueError("one chosen engine per sub-net and batch size, from 1 on, is needed")
    measured: dict[tuple[str, str], list[int]] = {}
    for m in profile.measurements:
        measured.setdefault((m.subnet, m.engine), []).append(m.batch_size)
    ascending = sorted(sizes)
    if any(sorted(own) != ascending[: len(own)] for own in measured.values()):
        raise ValueError("every engine of a sub-net needs exactly one measurement per batch size it came to")
    return profile


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} where text belongs")
    if not value.isprintable():  # a name of a foreign file, on its way to a table, a label, a log line
        raise ValueError(f"{value!a} holds an unprintable character")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError(f"{value!r} where a positive whole number belongs")
    return value


def _number(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r} where a finite number belongs")
    return float(value)
