from __future__ import annotations

from downshift.runtime.profiling.profile import Profile
from downshift.runtime.profiling.spares import needless
from tests.runtime.doubles import MACHINE, measurement

GPU = frozenset({"cuda", "tensorrt"})


def profile(*rows: tuple[str, str, float, bool]) -> Profile:
    """Sub-net, engine, seconds, and whether it is chosen."""
    return Profile(
        "",
        MACHINE,
        tuple(measurement(name, 1, p50, engine=on, chosen=chosen) for name, on, p50, chosen in rows),
    )


def test_the_fastest_program_without_a_gpu_is_kept_for_a_sub_net_that_only_gpus_run() -> None:
    measured = profile(
        ("s50", "sparse", 3.0, False),
        ("s50", "onnxruntime", 2.0, False),
        ("s50", "cuda", 1.0, True),
        ("s50", "tensorrt", 1.5, False),
    )
    assert needless(measured, GPU) == {("s50", "sparse"), ("s50", "tensorrt")}


def test_a_sub_net_that_a_processor_runs_at_some_size_needs_no_other_spare() -> None:
    measured = profile(("s50", "sparse", 1.0, True), ("s50", "onnxruntime", 2.0, False))
    assert needless(measured, GPU) == {("s50", "onnxruntime")}


def test_where_only_gpus_were_measured_there_is_no_spare() -> None:
    measured = profile(("s50", "cuda", 1.0, True), ("s50", "tensorrt", 2.0, False))
    assert needless(measured, GPU) == {("s50", "tensorrt")}
