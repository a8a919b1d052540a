"""The device path on the CPU provider: the same bindings, ladder and padding, with buffers in host memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downshift.models.materialize import materialize
from downshift.runtime.engines.device_engine import DeviceEngine
from downshift.runtime.engines.device_program import LADDER, DeviceProgram
from downshift.runtime.engines.provider_options import CPU
from downshift.runtime.errors import DeviceFault, OutOfDeviceMemory, UnsupportedModel
from downshift.runtime.gpu.driver import Device
from downshift.runtime.profiling.profiler import Effort
from tests.models.tiny_artifact import tiny_artifact
from tests.runtime.small_onnx import normal

if TYPE_CHECKING:
    from collections.abc import Callable

    from downshift.runtime.request import FloatArray

DEVICE = Device(0, "GPU-played", "a played GPU")
ARTIFACT = tiny_artifact()
NAMES = ARTIFACT.manifest.names
SIZES = (1, 2, 4, 8)
SESSIONS = {
    name: onnxruntime.InferenceSession(materialize(ARTIFACT, name).SerializeToString()) for name in NAMES
}


def engine(**options: object) -> DeviceEngine:
    chosen = {"name": "played", "provider": CPU, "device": DEVICE, "sizes": SIZES, "kind": "cpu", **options}
    return DeviceEngine(**chosen)  # type: ignore[arg-type]


def compiled(made: DeviceEngine, name: str = "s1") -> DeviceProgram:
    program = made.compile(ARTIFACT, NAMES, threads=1)[name]
    assert not isinstance(program, UnsupportedModel), program
    return program


def expected(name: str, batch: FloatArray) -> FloatArray:
    outputs: FloatArray = SESSIONS[name].run(None, {"image": batch})[0]
    return outputs


@pytest.fixture(scope="module")
def programs() -> dict[str, DeviceProgram]:
    made = engine()
    return {name: compiled(made, name) for name in NAMES}


@settings(max_examples=60)
@given(count=st.integers(1, 27), seed=st.integers(0, 99), name=st.sampled_from(NAMES))
def test_any_number_of_examples_gets_its_own_answers(
    programs: dict[str, DeviceProgram], count: int, seed: int, name: str
) -> None:
    """Padded to the next size, or run in pieces; programs of several sub-nets share the buffers."""
    batch = normal(count, 3, 5, 5, seed=seed)
    got = programs[name].run(batch)
    assert (got.dtype, got.shape) == (np.float32, (count, 3))
    np.testing.assert_allclose(got, expected(name, batch), atol=1e-5)


def test_what_others_left_in_the_padding_reaches_nobody(programs: dict[str, DeviceProgram]) -> None:
    programs["s0"].run(np.full((8, 3, 5, 5), np.nan, np.float32))
    batch = normal(3, 3, 5, 5)
    np.testing.assert_allclose(programs["s0"].run(batch), expected("s0", batch), atol=1e-5)


def test_an_answer_is_the_callers_to_keep_and_the_batch_is_not_modified(
    programs: dict[str, DeviceProgram],
) -> None:
    batch = normal(2, 3, 5, 5)
    before = batch.copy()
    first = programs["s0"].run(batch)
    kept = first.copy()
    programs["s2"].run(normal(2, 3, 5, 5, seed=1))
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(batch, before)


def test_only_sizes_of_the_ladder_ever_run(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    program = compiled(engine())
    update = onnxruntime.OrtValue.update_inplace

    def watch(value: onnxruntime.OrtValue, array: FloatArray) -> None:
        ran.append(len(array))
        update(value, array)

    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", watch)
    for count in range(1, 12):
        program.run(normal(count, 3, 5, 5))
    assert ran == [1, 2, 4, 4, 8, 8, 8, 8, 8, 1, 8, 2, 8, 4]


def test_every_size_has_run_before_the_program_is_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    run = DeviceProgram._run

    def watch(program: DeviceProgram, batch: FloatArray) -> FloatArray:
        ran.append(len(batch))
        return run(program, batch)

    monkeypatch.setattr(DeviceProgram, "_run", watch)
    engine().compile(ARTIFACT, ["s0"], threads=1)
    assert ran == list(SIZES)


def test_busy_time_is_counted_for_all_sub_nets_of_the_engine_together() -> None:
    made = engine()
    program = compiled(made)
    before = made.busy.seconds
    program.run(normal(1, 3, 5, 5))
    assert made.busy.seconds > before
    assert (program.busy, program.device) == (made.busy, DEVICE)


def failing(message: str, at: Callable[[int], bool]) -> Callable[[onnxruntime.OrtValue, FloatArray], None]:
    """What raises instead of copying batches of such sizes."""
    update = onnxruntime.OrtValue.update_inplace

    def run(value: onnxruntime.OrtValue, array: FloatArray) -> None:
        if at(len(array)):
            raise RuntimeError(message)
        update(value, array)

    return run


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Failed to allocate memory for requested buffer of size 4096", OutOfDeviceMemory),
        ("CUDA failure 2: out of memory ; GPU=0\nmore", OutOfDeviceMemory),
        ("CUDA failure 999: unknown error ; GPU=0", DeviceFault),
        ("", DeviceFault),
    ],
)
def test_what_the_device_fails_with_has_its_kind_and_names_engine_and_device(
    message: str, kind: type[DeviceFault], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = compiled(engine())
    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", failing(message, lambda size: True))
    with pytest.raises(
        DeviceFault, match=r"engine played failed on cuda:0 \(a played GPU, GPU-played\)"
    ) as got:
        program.run(normal(1, 3, 5, 5))
    assert type(got.value) is kind
    assert "\n" not in str(got.value)


def test_a_device_that_failed_once_may_answer_again(monkeypatch: pytest.MonkeyPatch) -> None:
    program = compiled(engine())
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime.OrtValue, "update_inplace", failing("out of memory", lambda size: size > 2))
        with pytest.raises(OutOfDeviceMemory):
            program.run(normal(4, 3, 5, 5))
        assert program.run(normal(2, 3, 5, 5)).shape == (2, 3)
    assert program.run(normal(4, 3, 5, 5)).shape == (4, 3)


def test_sizes_that_do_not_fit_are_given_up_before_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(onnxruntime.OrtValue, "update_inplace", failing("out of memory", lambda size: size > 2))
        program = compiled(engine())
        assert program.sizes == (1, 2)
        batch = normal(5, 3, 5, 5)
        np.testing.assert_allclose(program.run(batch), expected("s1", batch), atol=1e-5)


def test_a_sub_net_that_does_not_fit_at_all_is_left_to_other_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime.OrtValue, "update_inplace", failing("out of memory", lambda size: True))
    reason = engine().compile(ARTIFACT, ["s0"], threads=1)["s0"]
    assert isinstance(reason, UnsupportedModel)
    assert str(reason).startswith("engine played: sub-net s0: engine played failed on cuda:0")


def test_a_provider_that_does_not_start_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda session: [CPU])
    reason = engine(provider="NoSuchExecutionProvider").compile(ARTIFACT, ["s0"], threads=1)["s0"]
    assert isinstance(reason, UnsupportedModel)
    assert "NoSuchExecutionProvider" in str(reason)


def test_half_precision_answers_nearly_the_same_in_float32(programs: dict[str, DeviceProgram]) -> None:
    batch = normal(4, 3, 5, 5)
    got, exact = compiled(engine(arithmetic="fp16"), "s0").run(batch), programs["s0"].run(batch)
    assert got.dtype == np.float32
    error = np.abs(got - exact).max() / np.abs(exact).max()
    assert 0.0 < error < 5e-3, "equal would mean that nothing was computed in float16"


def test_a_version_tells_devices_and_ladders_apart() -> None:
    versions = {
        engine().version,
        engine(device=Device(0, "GPU-played", "another GPU")).version,
        engine(sizes=(1, 2)).version,
    }
    assert len(versions) == 3


def test_profiles_of_a_device_have_the_sizes_of_the_ladder() -> None:
    assert Effort().for_device.batch_sizes == LADDER
    assert Effort(batch_sizes=(1, 3)).for_device.batch_sizes == (1, 3), "sizes that were chosen stay"
