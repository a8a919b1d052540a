from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import pynvml
import pytest
from onnx import helper

from downshift.models.materialize import materialize
from downshift.runtime.engines import onnxruntime as onnx_engine
from downshift.runtime.engines.onnxruntime import cpu
from downshift.runtime.errors import EngineUnavailable, UnsupportedModel
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


def has_gpu() -> bool:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return False
    pynvml.nvmlShutdown()
    return True


@pytest.mark.skipif(has_gpu(), reason="there is a GPU")
@pytest.mark.parametrize("factory", [onnx_engine.cuda, onnx_engine.tensorrt])
def test_without_a_gpu_its_engines_say_so(factory: object) -> None:
    assert callable(factory)
    with pytest.raises(EngineUnavailable, match=r"engine onnxruntime-.*; install the NVIDIA driver"):
        factory(NOWHERE)


@pytest.mark.skipif(not has_gpu(), reason="needs an NVIDIA GPU")
def test_cuda_answers_what_the_cpu_does() -> None:
    artifact = tiny_artifact()
    on_cpu = cpu(NOWHERE).compile(artifact, NAMES, threads=1)["s1"]
    on_gpu = onnx_engine.cuda(NOWHERE).compile(artifact, NAMES, threads=1)["s1"]
    assert not isinstance(on_cpu, UnsupportedModel)
    assert not isinstance(on_gpu, UnsupportedModel)
    np.testing.assert_allclose(on_gpu.run(batch(4)), on_cpu.run(batch(4)), atol=1e-3)


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
