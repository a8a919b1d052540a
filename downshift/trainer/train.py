"""Runs a recipe: loads the data, trains or resumes, and writes the results into the run's folder."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import torch

from downshift.trainer import checkpoint as checkpoints
from downshift.trainer.data import training_data
from downshift.trainer.dry_run import dry_run_export
from downshift.trainer.errors import CheckpointError, RecipeError
from downshift.trainer.interruption import exiting_on_sigterm, reporting_last_checkpoint, storage_errors
from downshift.trainer.parallel import Workers
from downshift.trainer.progress import NullReporter, Reporter
from downshift.trainer.report.journal import Journal
from downshift.trainer.report.results import ARTIFACT, write_results
from downshift.trainer.run import CHECKPOINT, TrainingResult, TrainingRun

if TYPE_CHECKING:
    from pathlib import Path

    from downshift.trainer.recipe import Recipe


def train(  # noqa: PLR0913 - what a command line asks for, by keyword
    recipe: Recipe,
    out: Path,
    *,
    data_dir: Path,
    resume: bool = False,
    device: str = "auto",
    report: Reporter | None = None,
) -> TrainingResult:
    """Train `recipe` in the folder `out`, or resume the run in it, and write its results.

    Resuming a finished run evaluates it again and rewrites the results. Raises `TrainerError` for an unusable
    recipe, data set, network or folder before anything is written; later for divergence, a full disk and a
    process that dies, where the last checkpoint is kept. SIGTERM raises `SystemExit` 143 and keeps it, too.
    """
    target = choose_device(device)
    workers = Workers.join(target)
    saved = out / CHECKPOINT
    _refuse_overwriting(out, resume=resume)
    checkpoint = checkpoints.load(saved) if resume else None
    data = training_data.load(recipe, data_dir, target, workers)
    run = TrainingRun(recipe, data, target, workers, resuming=resume)
    dry_run_export(run.supernet, recipe, data.image, data.labels)
    changed = run.resume(checkpoint) if checkpoint else {}
    position = int(checkpoint.facts["journal"]) if checkpoint else 0
    with (
        storage_errors(out, run),
        exiting_on_sigterm(),
        reporting_last_checkpoint(run, report or NullReporter()),
    ):
        if workers.leads:
            for half_written in out.glob(".*.part"):  # left by a killed run
                half_written.unlink()
            with Journal(out, position) as journal:
                if changed:
                    journal.write(run.step, {"resumed": changed})
                outcome = run.train(out, journal, report or NullReporter())
                journal.write(run.step, {"final": outcome.validation, "test": outcome.test})
            write_results(out, recipe, data, outcome)
        else:
            outcome = run.train(out, None, NullReporter())
    workers.leave()
    return outcome


def _refuse_overwriting(out: Path, *, resume: bool) -> None:
    """Raise `CheckpointError` if a new run would overwrite another run's files in `out`."""
    for name in (CHECKPOINT, ARTIFACT):
        if (out / name).exists() and not resume:
            raise CheckpointError(
                f"{out} already holds a run ({name}); continue with --resume, or choose another --out"
            )


def choose_device(name: str) -> torch.device:
    """The torch device of that name; `auto`: this worker's GPU, else the CPU. Raises `RecipeError`."""
    if name == "auto":
        gpu = int(os.environ.get("LOCAL_RANK", "0"))
        return torch.device("cuda", gpu) if torch.cuda.is_available() else torch.device("cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise RecipeError(f"device {name!r} cannot be used here ({error}); try --device cpu") from error
    return device
