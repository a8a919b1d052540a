"""A recipe written as TOML is read back as the same recipe."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.trainer import recipe_toml
from tests.trainer.small import small_recipe


@pytest.mark.parametrize("name", recipe_toml.bundled())
def test_every_bundled_recipe_survives(name: str) -> None:
    chosen = recipe_toml.load(name)
    assert recipe_toml.parse(tomllib.loads(recipe_toml.dumps(chosen))) == chosen


def test_the_text_names_every_value_of_every_section() -> None:
    text = recipe_toml.dumps(small_recipe(masks={"dense": ["blocks.0"], "classifier": True}))
    assert text.startswith('[network]\nname = "cifar-resnet20"\nwidth = 0.125\ninit = ""\n\n[data]\n')
    assert '\nsparsities = [0.5, 0.8]\npatterns = []\nblock = "unstructured"\n' in text
    assert '\nclassifier = true\ndepthwise = false\ndense = ["blocks.0"]\n' in text


@given(
    name=st.text(st.characters(exclude_categories=["Cs"])),
    width=st.floats(0.01, 64),
    lr=st.floats(1e-9, 1e3),
    sparsities=st.sets(st.integers(0, 9999), min_size=1).map(lambda s: [n / 10000 for n in sorted(s)]),
)
def test_any_text_and_number_survives(name: str, width: float, lr: float, sparsities: list[float]) -> None:
    chosen = small_recipe(
        data={"name": name},
        network={"width": width},
        optimizer={"lr": lr},
        subnets={"sparsities": sparsities},
    )
    assert recipe_toml.parse(tomllib.loads(recipe_toml.dumps(chosen))) == chosen
