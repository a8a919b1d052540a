"""Weights of a trained network in a fresh one; what does not fit is one sentence."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from downshift.models.errors import SpecError
from downshift.models.networks.pretrained import initialise

if TYPE_CHECKING:
    from pathlib import Path


def network(classes: int = 3, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, classes))


def same(one: nn.Module, other: nn.Module, *, but: str = "none") -> bool:
    theirs = other.state_dict()
    return all(torch.equal(t, theirs[n]) for n, t in one.state_dict().items() if not n.startswith(but))


def written(values: Any, folder: Path, name: str = "weights.pt") -> Path:
    path = folder / name
    torch.save(values, path)
    return path


@pytest.mark.parametrize("around", ["plain", "nested", "prefixed", "safetensors"])
def test_the_state_dicts_of_others_are_read(around: str, tmp_path: Path) -> None:
    trained, fresh = network(seed=1), network(seed=2)
    state = trained.state_dict()
    match around:
        case "plain":
            path = written(state, tmp_path)
        case "nested":
            path = written({"epoch": 3, "state_dict": state}, tmp_path)
        case "prefixed":
            path = written({f"module._orig_mod.{name}": t for name, t in state.items()}, tmp_path)
        case _:
            path = tmp_path / "weights.safetensors"
            save_file(state, path)
    initialise(fresh, path)
    assert same(fresh, trained)


def test_for_another_number_of_classes_the_classifier_starts_anew(tmp_path: Path) -> None:
    trained, fresh = network(classes=1000, seed=1), network(classes=5, seed=2)
    before = fresh.state_dict()["3.weight"].clone()
    initialise(fresh, written(trained.state_dict(), tmp_path))
    assert same(fresh, trained, but="3.")
    assert torch.equal(fresh.state_dict()["3.weight"], before)


def changed(**changes: Tensor | None) -> dict[str, Tensor]:
    state = dict(network(seed=1).state_dict())
    for name, tensor in changes.items():
        key = name.replace("_dot_", ".").removeprefix("at_")
        if tensor is None:
            del state[key]
        else:
            state[key] = tensor
    return state


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (changed(at_0_dot_bias=None), r"1 of its weights are missing \(0.bias\)"),
        (changed(extra=torch.zeros(1)), r"1 are unknown to it \(extra\)"),
        (changed(at_0_dot_bias=torch.zeros(9)), r"1 have another shape \(0.bias \[9\] for \[4\]\)"),
        ({}, r"8 of its weights are missing .*0.bias, 0.weight, 1.bias, …"),
        ([1, 2], "holds no state dict"),
        ({1: torch.zeros(1)}, "holds no state dict"),
        (
            changed(at_0_dot_weight=torch.full((4, 3, 3, 3), torch.nan)),
            r"1 hold NaN or infinity \(0.weight\)",
        ),
        (changed(at_0_dot_weight=torch.zeros(4, 3, 3, 3).to("meta")), "are no dense floating-point numbers"),
        (
            changed(at_0_dot_weight=torch.zeros(4, 3, 3, 3).to(torch.int8)),
            "are no dense floating-point numbers",
        ),
        (changed(at_0_dot_weight=torch.zeros(4, 3, 3, 3).to(torch.cfloat)), "are no dense floating-point"),
        pytest.param(
            changed(at_0_dot_weight=torch.zeros(4, 3, 3, 3).to_sparse()),
            r"1 are no dense floating-point numbers \(0.weight\)",
            marks=pytest.mark.filterwarnings("ignore:Validating sparse tensor invariants"),  # torch.load
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_copied(state: Any, said: str, tmp_path: Path) -> None:
    fresh = network(seed=2)
    with pytest.raises(SpecError, match=f"weights.pt .*{said}") as caught:
        initialise(fresh, written(state, tmp_path))
    assert "\n" not in str(caught.value)
    assert same(fresh, network(seed=2))


class Hostile:
    """Unpickling it would run code."""

    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_a_file_that_would_run_code_or_is_none_is_refused(tmp_path: Path) -> None:
    hostile = tmp_path / "hostile.pt"
    hostile.write_bytes(pickle.dumps(Hostile(), protocol=2))
    torn = tmp_path / "torn.safetensors"
    torn.write_bytes(b"not weights")
    whole, text = written(network(), tmp_path, "whole.pt"), tmp_path / "text.pt"
    text.write_text("hello")
    for path, why in ((hostile, "pickled Python"), (torn, ""), (whole, "pickled Python"), (text, "")):
        with pytest.raises(SpecError, match=f"holds no weights that can be read safely .*{why}") as caught:
            initialise(network(), path)
        assert str(caught.value).isprintable()
    with pytest.raises(SpecError, match="no such file of weights"):
        initialise(network(), tmp_path / "absent.pt")
