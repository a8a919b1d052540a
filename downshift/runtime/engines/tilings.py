"""Tilings found by measuring, kept on disk so that the next start runs tuned programs at once."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from downshift.models.atomic import write_atomically

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from downshift.runtime.machine import Machine

log = logging.getLogger(__name__)

Tiling = tuple[int, int, int, bool, int]
"""Vectors of a tile, rows that share positions, planes of a block, columns apart, parts."""


@dataclass(frozen=True)
class TilingCache:
    """The tilings of one artifact's sub-nets on one machine. What cannot be read counts as not there.

    artifact: SHA-256 of its tensors. machine: with the engine's own version only, so that another engine's
    update does not throw tilings away.
    """

    folder: Path
    artifact: str
    machine: Machine

    def path(self, subnet: str) -> Path:
        """Where the sub-net's tilings are kept."""
        key = json.dumps([self.artifact, asdict(self.machine), subnet], sort_keys=True).encode()
        return self.folder / f"tilings-{hashlib.sha256(key).hexdigest()[:32]}.json"

    def load(self, subnet: str) -> list[Tiling] | None:
        """The stored tilings, one for every convolution in order, or None."""
        path = self.path(subnet)
        try:
            stored = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            log.warning("cached tilings %s are ignored: %s", path, error)
            return None
        if not isinstance(stored, list) or not all(map(_is_tiling, stored)):
            log.warning("cached tilings %s are ignored: not a list of tilings", path)
            return None
        return [tuple(one) for one in stored]

    def store(self, subnet: str, tilings: Sequence[Tiling]) -> None:
        """Keep the tilings; when the disk refuses, say so in the log and carry on."""
        path = self.path(subnet)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(tilings).encode())
        except OSError as error:
            log.warning("tilings not cached, so the next start tunes again: %s: %s", path, error.strerror)


def _is_tiling(value: Any) -> bool:
    return isinstance(value, list) and [type(one) for one in value] == [int, int, int, bool, int]
