"""Tilings found by measuring, cached on disk so that the next start runs tuned programs at once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from downshift.runtime import _kernels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from downshift.runtime.json_cache import JsonCache
    from downshift.runtime.machine import Machine

KIND = "tilings"
FIELDS = {"vectors": int, "rows": int, "block": int, "split": bool, "parts": int}


@dataclass(frozen=True)
class TilingCache:
    """The tilings of one artifact's sub-nets on one machine.

    artifact: SHA-256 of its tensors. machine: with the engine's own version only, so that another engine's
    update leaves tilings valid.
    """

    cache: JsonCache
    artifact: str
    machine: Machine

    def load(self, subnet: str) -> list[_kernels.Tiling] | None:
        """The stored tilings, one for every convolution in order, or None."""
        return self.cache.load(KIND, self.key(subnet), _tilings)

    def store(self, subnet: str, tilings: Sequence[_kernels.Tiling]) -> None:
        """Keep the tilings, where anything can be kept."""
        document = [{name: getattr(tiling, name) for name in FIELDS} for tiling in tilings]
        self.cache.store(KIND, self.key(subnet), document)

    def key(self, subnet: str) -> list[Any]:
        """What the sub-net's tilings depend on."""
        return [self.artifact, asdict(self.machine), subnet]


def _tilings(document: Any) -> list[_kernels.Tiling]:
    if not isinstance(document, list) or not all(map(_is_tiling, document)):
        raise ValueError("not a list of tilings")
    return [_kernels.Tiling(**row) for row in document]


def _is_tiling(row: Any) -> bool:
    # By type, as JSON's true is an int to isinstance; and small enough for the kernels' 32 bits.
    return (
        isinstance(row, dict)
        and {name: type(value) for name, value in row.items()} == FIELDS
        and all(abs(value) < 2**31 for value in row.values())
    )
