"""Recipes: read, overridden, and refused with one sentence that names the key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from downshift.models.network import find
from downshift.models.pattern import Block, NByM, Unstructured
from downshift.trainer import recipe_toml
from downshift.trainer.errors import RecipeError
from downshift.trainer.masks.masking import MaskPlan
from downshift.trainer.recipe_toml import bundled, load
from tests.trainer.small import small_recipe

if TYPE_CHECKING:
    from pathlib import Path

NAMES = (
    "cifar10-resnet18-nm",
    "cifar10-resnet20",
    "cifar10-resnet20-channel",
    "cifar10-resnet32x2",
    "digits",
    "finetune",
    "imagenet-resnet50",
    "mnist",
)


def test_the_bundled_recipes_are_found_and_can_be_followed() -> None:
    assert bundled() == NAMES
    for name in NAMES:
        recipe = load(name)
        assert find(recipe.network.name).name == recipe.network.name
        assert MaskPlan.of(recipe, recipe.run.epochs * 400).ramps[-1].final == recipe.sparsities[-1]


def test_the_papers_setting() -> None:
    recipe = load("cifar10-resnet32x2")
    assert recipe.names == ("s90", "s95", "s98")
    assert (recipe.network.width, recipe.masks.form, recipe.masks.interval) == (2.0, "independent", 999)
    assert (recipe.step.kind, recipe.run.epochs, recipe.masks.classifier) == ("alternating", 160, True)


def test_n_of_m_sub_nets_have_names_of_their_own() -> None:
    """The released code keyed a sub-net by N / M, so that 2:4 and 4:8 were one."""
    recipe = small_recipe(subnets={"patterns": ["2:4", "4:8", "1:4"]})
    assert recipe.names == ("n2m4", "n4m8", "n1m4")
    assert recipe.sparsities == (0.5, 0.5, 0.75)
    assert recipe.patterns[1] == NByM(4, 8)


def test_a_dense_sub_net_may_lead_those_of_a_pattern() -> None:
    recipe = small_recipe(subnets={"patterns": ["unstructured", "2:4"]})
    assert recipe.patterns == (Unstructured(), NByM(2, 4))
    assert recipe.names == ("s00", "n2m4")


def test_names_are_the_decimals_of_the_sparsity() -> None:
    assert [Unstructured().name(s) for s in (0.0, 0.5, 0.05, 0.9, 0.995, 0.9999)] == [
        "s00", "s50", "s05", "s90", "s995", "s9999",
    ]  # fmt: skip


def test_overrides_replace_values_and_a_choice_of_sub_nets_replaces_the_other() -> None:
    recipe = load(
        "digits", ["run.epochs=3", "data.augment=crop", "optimizer.lr=1", "subnets.patterns=['1:8']"]
    )
    assert (recipe.run.epochs, recipe.data.augment, recipe.optimizer.lr) == (3, "crop", 1.0)
    assert recipe.names == ("n1m8",)


def test_blocks_go_with_sparsities_and_not_with_patterns() -> None:
    recipe = load("digits", ["subnets.block=block 4x1", "subnets.sparsities=[0.5, 0.9]"])
    assert recipe.patterns == (Block(4, 1), Block(4, 1))
    assert recipe.names == ("s50", "s90")
    with pytest.raises(RecipeError, match="'block 4x1': it goes with sparsities"):
        small_recipe(subnets={"patterns": ["2:4"], "block": "block 4x1"})


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("run.epoch=3", "unknown recipe key 'run.epoch': did you mean 'epochs'?"),
        ("train.epochs=3", "unknown recipe key 'train'"),
        ("run.epochs=many", "recipe key run.epochs = 'many': a whole number is needed"),
        ("run.epochs=true", "run.epochs = True: a whole number"),
        ("run.epochs=0", r"run.epochs = 0: must be in \[1,"),
        ("optimizer.lr=nan", "optimizer.lr = nan: a finite number"),
        ("masks.form=round", "masks.form = 'round': choose one of nested, independent"),
        ("masks.end=0.9", "masks: start 0.03 <= end 0.9 <= stop 0.75"),
        ("masks.dense=stem", "masks.dense = 'stem': a list is needed"),
        ("subnets.sparsities=[0.9, 0.5]", "each once, the densest first"),
        ("subnets.sparsities=[]", "give either sparsities"),
        ("subnets.sparsities=[0.9, 0.90001]", "are not different"),
        ("subnets.patterns=['1:4', '2:4']", "the densest comes first"),
        ("subnets.patterns=['2:4', '2:4']", "are not different"),
        ("subnets.patterns=['2:4', 'unstructured']", "only the first may be 'unstructured'"),
        ("subnets.patterns=['channel']", "write N:M"),
        ("subnets.patterns=['4:2']", "0 < N < M"),
        ("subnets.block=2:4", "subnets.block '2:4': write 'unstructured', 'channel'"),
        ("subnets.block=block 0x4", "subnets.block: pattern block 0x4: a block has 1 to 64"),
        ("subnets.block=block 1x1", "more than one weight"),
        ("subnets.block=4by1", "subnets.block: pattern '4by1'"),
        ("epochs=3", "override 'epochs=3': write section.key=value"),
        ("run=3", "override 'run=3': write section.key=value"),
    ],
)
def test_what_no_run_can_follow_is_refused_in_one_sentence(override: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said) as caught:
        load("digits", [override])
    assert "\n" not in str(caught.value)


def test_recipes_that_are_not_there_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="unknown recipe 'digit': choose one of cifar10"):
        load("digit")
    with pytest.raises(RecipeError, match="no such file"):
        load(str(tmp_path / "none.toml"))
    (tmp_path / "bad.toml").write_text("= 3")
    with pytest.raises(RecipeError, match="is not TOML"):
        load(str(tmp_path / "bad.toml"))
    (tmp_path / "short.toml").write_text("[network]\nname = 'x'\n")
    with pytest.raises(RecipeError, match="recipe key 'data' is missing"):
        load(str(tmp_path / "short.toml"))


def test_batch_split_needs_two_images_a_sub_net() -> None:
    values: dict[str, Any] = {"step": {"kind": "batch-split"}, "run": {"batch_size": 3}}
    with pytest.raises(RecipeError, match=r"run\.batch_size 3"):
        small_recipe(**values)


def test_a_byte_order_mark_before_a_recipe_is_no_part_of_it(tmp_path: Path) -> None:
    """Notepad and PowerShell write one."""
    text = recipe_toml.dumps(load("digits"))
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert load(str(tmp_path / "marked.toml")) == load("digits")


def test_a_recipe_in_another_encoding_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "utf16.toml").write_bytes(recipe_toml.dumps(load("digits")).encode("utf-16"))
    with pytest.raises(RecipeError, match=r"not UTF-8 \(invalid start byte at byte 0\): save it"):
        load(str(tmp_path / "utf16.toml"))
