"""The int8 sparse engine behind the seam all engines share: answers of the integer reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from downshift.models.materialize import materialize
from downshift.runtime.engines.sparse_int8 import cpu
from downshift.runtime.errors import UnsupportedModel
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.lowering.integer import integer
from downshift.runtime.lowering.integer_reference import run
from downshift.runtime.lowering.lower import lower
from tests.runtime.quantized import quantized_artifact
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact
    from downshift.runtime.engines.engine import Program

NAMES = ("s0-int8", "s1-int8", "s2-int8")


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return quantized_artifact()


def program(artifact: Artifact, name: str, threads: int = 1) -> Program:
    found = cpu(JsonCache(None)).compile(artifact, [name], threads=threads)[name]
    assert not isinstance(found, UnsupportedModel)
    return found


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("threads", [1, 2])
def test_it_answers_what_the_integer_reference_does(artifact: Artifact, name: str, threads: int) -> None:
    subnet, inputs = artifact.manifest.point(name).subnet, normal(3, 3, 5, 5)
    assert subnet.int8 is not None
    graph = integer(lower(materialize(artifact, subnet.name)), subnet.int8.ranges)
    answered = program(artifact, name, threads).run(inputs)
    np.testing.assert_allclose(answered, run(graph, inputs), rtol=1e-5, atol=1e-5)


def test_it_answers_several_threads_at_once(artifact: Artifact) -> None:
    held, inputs = program(artifact, NAMES[0], threads=2), normal(2, 3, 5, 5)
    alone = held.run(inputs)
    with ThreadPoolExecutor(4) as pool:
        for answered in pool.map(held.run, [inputs] * 32):
            np.testing.assert_array_equal(answered, alone)


def test_ranges_of_another_network_are_refused_with_the_sub_net_s_name(artifact: Artifact) -> None:
    first, *rest = artifact.manifest.subnets
    assert first.int8 is not None
    other = replace(first, int8=replace(first.int8, ranges={"of another": (0.0, 1.0)}))
    changed = replace(artifact, manifest=replace(artifact.manifest, subnets=(other, *rest)))
    compiled = cpu(JsonCache(None)).compile(changed, NAMES, threads=1)
    assert "engine sparse-int8: sub-net s0-int8: no activation range" in str(compiled["s0-int8"])
    assert not isinstance(compiled["s1-int8"], UnsupportedModel), "the others run"
