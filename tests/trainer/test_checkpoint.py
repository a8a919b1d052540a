"""Checkpoints hold what was put in, and damaged ones are refused by name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import save as serialise

from downshift.models.errors import SpecError
from downshift.models.networks.pretrained import initialise
from downshift.trainer.checkpoint import Checkpoint, load, save
from downshift.trainer.errors import CheckpointError

if TYPE_CHECKING:
    from pathlib import Path

KEPT = Checkpoint(
    7,
    {"run": {"epochs": 2}},
    {
        "supernet/a": torch.arange(6.0).view(2, 3),
        "rng/cpu": torch.get_rng_state(),
        "supernetwork": torch.ones(1),
    },
    {"journal": 12},
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save(tmp_path / "c", KEPT)
    found = load(tmp_path / "c")
    assert (found.step, found.recipe, found.facts) == (KEPT.step, KEPT.recipe, KEPT.facts)
    assert found.tensors.keys() == KEPT.tensors.keys()
    assert all(torch.equal(tensor, KEPT.tensors[name]) for name, tensor in found.tensors.items())
    assert found.part("supernet").keys() == {"a"}


def test_equal_states_give_equal_bytes(tmp_path: Path) -> None:
    save(tmp_path / "one", KEPT)
    save(tmp_path / "two", KEPT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_missing_one_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no such file; start the run without --resume"):
        load(tmp_path / "none")


@pytest.mark.parametrize("length", [0, 7, 100, -1])
def test_a_truncated_one_is_damaged(tmp_path: Path, length: int) -> None:
    save(tmp_path / "c", KEPT)
    (tmp_path / "c").write_bytes((tmp_path / "c").read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"is damaged .*; delete it"):
        load(tmp_path / "c")


@pytest.mark.parametrize("header", [None, {}, {"downshift": "{"}, {"downshift": "{}"}])
def test_somebody_elses_tensors_are_no_checkpoint(tmp_path: Path, header: dict[str, str] | None) -> None:
    (tmp_path / "c").write_bytes(serialise({"a": torch.ones(1)}, metadata=header))
    with pytest.raises(CheckpointError, match="is damaged"):
        load(tmp_path / "c")


def test_another_format_is_named(tmp_path: Path) -> None:
    header = json.dumps({"format": 99, "step": 1, "recipe": {}, "facts": {}})
    (tmp_path / "c").write_bytes(serialise({"a": torch.ones(1)}, metadata={"downshift": header}))
    with pytest.raises(CheckpointError, match="format 99, this version reads 2"):
        load(tmp_path / "c")


def test_one_is_no_file_of_weights_to_start_from(tmp_path: Path) -> None:
    """network.init takes one network's weights, not the state of a run."""
    save(tmp_path / "c.safetensors", KEPT)
    with pytest.raises(SpecError, match=r"c.safetensors does not fit .*3 are unknown to it \(rng/cpu, "):
        initialise(torch.nn.Linear(3, 2), tmp_path / "c.safetensors")
