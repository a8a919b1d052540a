"""The manifest's JSON has golden text, comes back equal, and is read strictly."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downshift.models.errors import ArtifactError, SpecError
from downshift.models.manifest_json import dumps, from_dict, loads, to_dict
from downshift.models.pattern import Block, Channel, NByM, Unstructured
from downshift.models.spec import InputSpec, LayerSpec, Manifest, NormSpec, Provenance, SubnetSpec

MANIFEST = Manifest(
    network="net",
    subnets=(
        SubnetSpec("s50", 0.5, NByM(2, 4), 0.9, 200, 100),
        SubnetSpec("s90", 0.9, Unstructured(), None, 40, 20),
    ),
    input=InputSpec("image", 1, 28, 32, (0.5,), (0.25,), resize=40, interpolation="bicubic"),
    output="logits",
    labels=("naïve", "日本"),
    masks="levels",
    layers=(LayerSpec("conv.weight", (8, 1, 5, 5)),),
    norms=(NormSpec("bn.weight", "bn.bias", "bn.mean", "bn.var", 8),),
    provenance=Provenance({"epochs": 3, "rates": [0.1, None]}, 7, "digits", {"torch": "2.11"}, "abc", False),
    sha256="00ff",
)

GOLDEN = """\
{
  "input": {
    "channels": 1,
    "height": 28,
    "interpolation": "bicubic",
    "mean": [
      0.5
    ],
    "name": "image",
    "resize": 40,
    "std": [
      0.25
    ],
    "width": 32
  },
  "labels": [
    "naïve",
    "日本"
  ],
  "layers": [
    {
      "shape": [
        8,
        1,
        5,
        5
      ],
      "weight": "conv.weight"
    }
  ],
  "masks": "levels",
  "network": "net",
  "norms": [
    {
      "bias": "bn.bias",
      "channels": 8,
      "mean": "bn.mean",
      "scale": "bn.weight",
      "var": "bn.var"
    }
  ],
  "output": "logits",
  "provenance": {
    "commit": "abc",
    "dataset": "digits",
    "recipe": {
      "epochs": 3,
      "rates": [
        0.1,
        null
      ]
    },
    "seed": 7,
    "synthetic": false,
    "versions": {
      "torch": "2.11"
    }
  },
  "schema": 1,
  "sha256": "00ff",
  "subnets": [
    {
      "accuracy": 0.9,
      "flops": 200,
      "name": "s50",
      "nonzeros": 100,
      "pattern": "2:4",
      "sparsity": 0.5
    },
    {
      "accuracy": null,
      "flops": 40,
      "name": "s90",
      "nonzeros": 20,
      "pattern": "unstructured",
      "sparsity": 0.9
    }
  ]
}"""


def test_golden_text() -> None:
    assert dumps(MANIFEST) == GOLDEN
    assert loads(GOLDEN) == MANIFEST
    assert loads(GOLDEN.encode()) == MANIFEST


def test_the_dict_is_what_the_text_says() -> None:
    assert to_dict(MANIFEST) == json.loads(GOLDEN)
    assert from_dict(to_dict(MANIFEST)) == MANIFEST


def edited(path: str, value: Any) -> dict[str, Any]:
    """The manifest's dict with the value at a dotted path replaced, or removed when it is `...`."""
    whole: dict[str, Any] = json.loads(GOLDEN)
    *parents, last = [int(key) if key.isdigit() else key for key in path.split(".")]
    target: Any = whole
    for key in parents:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return whole


@pytest.mark.parametrize(
    ("path", "value", "field", "problem"),
    [
        ("network", ..., "manifest.network", "is missing"),
        ("extra", 1, "manifest", "unknown key 'extra'; known are input, labels"),
        ("network", 3, "manifest.network", "3 is not text"),
        ("network", "a\x1b[31m", "manifest.network", "unprintable"),
        ("network", "\ud800", "manifest.network", "unprintable"),
        ("network", "two\u2028lines", "manifest.network", "unprintable"),
        ("network", "x" * 5000, "manifest.network", "longer than 4096"),
        ("schema", 2, "manifest", "schema 2: this version reads schema 1; upgrade downshift"),
        ("schema", True, "manifest.schema", "True is not an integer"),
        ("schema", 1.0, "manifest.schema", "1.0 is not an integer"),
        ("subnets", [], "manifest", "0 sub-nets"),
        ("subnets", {}, "manifest.subnets", "{} is not a list"),
        ("subnets.1", None, "manifest.subnets[1]", "None is not an object"),
        ("subnets.1.sparsity", "0.9", "manifest.subnets[1].sparsity", "'0.9' is not a number"),
        ("subnets.1.sparsity", 1.0, "manifest.subnets[1]", "sparsity 1.0 is not in [0, 1)"),
        ("subnets.1.sparsity", float("nan"), "manifest.subnets[1].sparsity", "nan is out of range"),
        ("subnets.1.sparsity", True, "manifest.subnets[1].sparsity", "True is not a number"),
        pytest.param(
            *("subnets.1.sparsity", 10**400, "manifest.subnets[1].sparsity", "out of range"),
            id="huge integer",
        ),
        ("subnets.0.accuracy", 1.5, "manifest.subnets[0]", "accuracy 1.5 is not in [0, 1]"),
        ("subnets.0.pattern", "5:4", "manifest.subnets[0].pattern", "needs 0 < N < M"),
        ("subnets.0.flops", 2**63, "manifest.subnets[0].flops", "out of range"),
        ("subnets.0.nonzeros", -1, "manifest.subnets[0]", "cannot be negative"),
        ("subnets.0.name", "../s50", "manifest.subnets[0]", "sub-net name '../s50'"),
        ("subnets.1.name", "s50", "manifest", "each must be unique"),
        ("input.channels", 2, "manifest.input", "input channels 2"),
        ("input.std", [0.0], "manifest.input", "std above 0"),
        ("input.resize", 0.5, "manifest.input.resize", "0.5 is not an integer"),
        ("input.height", 10**9, "manifest.input", "input height 1000000000"),
        ("labels.1", 7, "manifest.labels[1]", "7 is not text"),
        ("labels.1", "a\nb", "manifest.labels[1]", "unprintable"),
        ("labels.1", "\ud800", "manifest.labels[1]", "unprintable"),
        ("masks", "dense", "manifest", "masks 'dense'"),
        ("layers.0.shape", [], "manifest.layers[0].shape", "not the shape of a weight"),
        ("layers.0.shape", [2**40, 2**40], "manifest.layers[0].shape", "not the shape of a weight"),
        ("layers.0.shape.1", 0, "manifest.layers[0].shape[1]", "0 is not positive"),
        ("norms.0.channels", 0, "manifest.norms[0].channels", "0 is not positive"),
        ("provenance.synthetic", 0, "manifest.provenance.synthetic", "0 is not true or false"),
        ("provenance.recipe", [], "manifest.provenance.recipe", "[] is not an object"),
        ("provenance.recipe.x", float("inf"), "manifest.provenance.recipe.x", "inf is out of range"),
        ("provenance.recipe.x", ["\udfff"], "manifest.provenance.recipe.x[0]", "not Unicode text"),
        ("provenance.versions.torch", 2, "manifest.provenance.versions.torch", "2 is not text"),
    ],
)
def test_a_wrong_value_is_named(path: str, value: Any, field: str, problem: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        from_dict(edited(path, value))
    assert caught.value.field == field
    assert problem in str(caught.value)


def test_deep_nesting_is_refused_whether_it_reaches_the_recursion_limit_or_not() -> None:
    deep: Any = 0
    for _ in range(20):
        deep = [deep]
    with pytest.raises(ArtifactError, match="nested deeper than 16 levels"):
        from_dict(edited("provenance.recipe.x", deep))
    with pytest.raises(ArtifactError, match="not the JSON of a manifest"):
        loads(GOLDEN.replace("null", "[" * 200_000))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "not the JSON"),
        ("[1, 2]", "[1, 2] is not an object"),
        (GOLDEN[:-1], "not the JSON"),
        (GOLDEN.replace('"seed": 7', '"seed": NaN'), "NaN is not a finite number"),
        (GOLDEN.replace('"seed": 7', '"seed": -Infinity'), "-Infinity is not a finite number"),
        (GOLDEN.replace('"seed": 7', '"seed": 1e999'), "number 1e999 is out of range"),
        (GOLDEN.replace('"seed": 7', '"seed": ' + "9" * 5000), "is out of range"),
        (GOLDEN.replace('"seed": 7', '"seed": 7, "seed": 8'), "a key is repeated"),
        (b"\xff\xfe\x00", "not the JSON"),
    ],
)
def test_text_that_is_not_strict_json_is_refused(text: str | bytes, problem: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        loads(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), object(), "\ud800", {1, 2}])
def test_a_recipe_that_json_cannot_hold_is_not_written(value: Any) -> None:
    with pytest.raises(SpecError, match="provenance holds finite JSON values"):
        dumps(Manifest(**{**vars(MANIFEST), "provenance": Provenance({"x": value})}))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
LABELS = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=8)


@given(
    subnets=st.lists(
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            st.sampled_from([Unstructured(), Channel(), NByM(1, 16), Block(4, 1)]),
            st.none() | st.floats(0, 1),
            st.integers(0, 2**40),
        ),
        min_size=1,
        max_size=12,
    ),
    recipe=st.dictionaries(st.text(max_size=5), JSON, max_size=3),
    labels=st.lists(LABELS, min_size=1, max_size=4),
    seed=st.integers(-(2**63) + 1, 2**63 - 1),
)
def test_any_manifest_comes_back_equal(subnets: Any, recipe: Any, labels: list[str], seed: int) -> None:
    counts = sorted((item[3] for item in subnets), reverse=True)
    manifest = Manifest(
        **{
            **vars(MANIFEST),
            "subnets": tuple(
                SubnetSpec(f"s{index}", item[0], item[1], item[2], item[3], count)
                for index, (item, count) in enumerate(zip(subnets, counts, strict=True))
            ),
            "labels": tuple(labels),
            "provenance": Provenance(recipe, seed),
        }
    )
    assert loads(dumps(manifest)) == manifest
    assert dumps(loads(dumps(manifest))) == dumps(manifest)


def test_a_standard_error_comes_back_and_is_absent_where_it_is_not_known() -> None:
    first, *others = MANIFEST.subnets
    measured = replace(MANIFEST, subnets=(replace(first, standard_error=0.004), *others))
    assert loads(dumps(measured)) == measured
    subnets = to_dict(measured)["subnets"]
    assert ["standard_error" in subnet for subnet in subnets] == [True, *(False for _ in others)]
    broken = dumps(measured).replace("0.004", "-0.004")
    with pytest.raises(ArtifactError, match=r"subnets\[0\].*standard error -0.004 is not in"):
        loads(broken)
