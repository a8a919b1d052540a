"""The journal: what was written is read, and a resumed run cuts off what belongs to no checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

from downshift.trainer.report.journal import NAME, Journal, read

if TYPE_CHECKING:
    from pathlib import Path


def test_records_are_read_in_order_and_mirrored_to_tensorboard(tmp_path: Path) -> None:
    with Journal(tmp_path / "run") as journal:
        journal.write(1, {"epoch": 1, "loss": {"s50": 0.5}, "note": "text"})
        journal.write(2, {"epoch": 2})
    assert read(tmp_path / "run" / NAME) == [
        {"step": 1, "epoch": 1, "loss": {"s50": 0.5}, "note": "text"},
        {"step": 2, "epoch": 2},
    ]
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    assert b"loss/s50" in events.read_bytes()


def test_what_was_written_after_the_checkpoint_is_cut_off(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        journal.write(1, {"epoch": 1})
        position = journal.position
        journal.write(2, {"epoch": 2})
    with Journal(tmp_path, position) as journal:
        journal.write(2, {"epoch": 20})
    assert read(tmp_path / NAME) == [{"step": 1, "epoch": 1}, {"step": 2, "epoch": 20}]
