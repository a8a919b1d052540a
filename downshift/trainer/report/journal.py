"""The journal of a run: `metrics.jsonl`, one JSON object per line, mirrored to TensorBoard."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from torch.utils.tensorboard import SummaryWriter

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

NAME = "metrics.jsonl"


class Journal:
    """An append-only log; a resumed run truncates it to `position`, the length at its checkpoint."""

    def __init__(self, folder: Path, position: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / NAME
        if self.path.exists():
            with self.path.open("r+b") as file:
                file.truncate(position)
        self._file = self.path.open("ab")
        self._board = SummaryWriter(str(folder / "tensorboard"))

    @property
    def position(self) -> int:
        """Length in bytes."""
        return self._file.tell()

    def write(self, step: int, record: dict[str, Any]) -> None:
        """Append one record of `step`; numbers, nested by sub-net or not, become TensorBoard scalars."""
        self._file.write(json.dumps({"step": step, **record}).encode() + b"\n")
        self._file.flush()
        for name, value in record.items():
            series = value if isinstance(value, dict) else {"": value}
            for key, number in series.items():
                if isinstance(number, int | float):
                    self._board.add_scalar(f"{name}/{key}" if key else name, number, step)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()


def read(path: Path) -> list[dict[str, Any]]:
    """Every record of a journal, in order."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
