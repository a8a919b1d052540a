from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pytest
from onnx import helper

from downshift.models.materialize import materialize
from downshift.runtime.engines import onnxruntime as onnx_engine
from downshift.runtime.engines.onnxruntime import cpu
from downshift.runtime.errors import UnsupportedModel
from tests.models.tiny_artifact import tiny_artifact

if TYPE_CHECKING:
    from downshift.models.artifact import Artifact

NOWHERE = Path()  # these engines remember nothing
NAMES = ("s0", "s1", "s2")


def batch(examples: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((examples, 3, 5, 5), dtype=np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_a_program_answers_what_the_reference_says_of_its_sub_net(name: str) -> None:
    artifact = tiny_artifact()
    program = cpu(NOWHERE).compile(artifact, NAMES, threads=1)[name]
    assert not isinstance(program, UnsupportedModel)
    reference = onnx.reference.ReferenceEvaluator(materialize(artifact, name))
    (expected,) = cast("list[Any]", reference.run(None, {"image": batch(3)}))
    outputs = program.run(batch(3))
    assert outputs.dtype == np.float32
    assert outputs.shape == (3, 3)
    assert np.abs(outputs - expected).max() < 1e-5


def test_a_batch_equals_its_examples() -> None:
    program = cpu(NOWHERE).compile(tiny_artifact(), NAMES, threads=2)["s1"]
    assert not isinstance(program, UnsupportedModel)
    together = program.run(batch(5))
    alone = np.concatenate([program.run(batch(5)[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_a_sub_net_onnxruntime_cannot_run_is_named_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def with_unknown_operator(artifact: Artifact, subnet: str) -> bytes:
        model = materialize(artifact, subnet)
        if subnet == "s1":
            model.graph.node.append(helper.make_node("NoSuchOperator", ["logits"], ["more"]))
        return bytes(model.SerializeToString())

    monkeypatch.setattr(onnx_engine, "dense_model", with_unknown_operator)
    compiled = cpu(NOWHERE).compile(tiny_artifact(), NAMES, threads=1)
    assert isinstance(reason := compiled["s1"], UnsupportedModel)
    assert "sub-net s1" in str(reason)
    assert "NoSuchOperator" in str(reason)
    assert not isinstance(compiled["s0"], UnsupportedModel)


def test_the_version_is_onnxruntimes() -> None:
    assert cpu(NOWHERE).version == onnxruntime.__version__


def test_compiling_and_running_prints_nothing() -> None:
    """onnxruntime writes to the file descriptors from C++, so only another process can tell."""
    script = (
        "from tests.models.tiny_artifact import tiny_artifact\n"
        "from downshift.runtime.engines.onnxruntime import cpu\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "programs = cpu(Path()).compile(tiny_artifact(), ('s0', 's1'), threads=2)\n"
        "programs['s0'].run(np.zeros((1, 3, 5, 5), np.float32))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
