from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from downshift.cli.console import progress_bar
from downshift.cli.server_console import ServerConsole, improved_text, ready_text, subnets_text
from downshift.runtime.engines.programs import Programs
from downshift.runtime.improvement import Improvement
from downshift.runtime.json_cache import JsonCache
from downshift.runtime.preparation import Prepared
from downshift.runtime.profiling.profile_cache import ProfileCache
from downshift.runtime.profiling.profiler import Effort
from downshift.runtime.profiling.self_check import Reference
from tests.models.tiny_artifact import tiny_artifact
from tests.server.doubles import manifest, profile

if TYPE_CHECKING:
    import pytest

SPEC = manifest()
PREPARED = Prepared(SPEC, Programs({}, {}, ("engine sparse: not here",), 2), profile(SPEC))


def test_the_operator_sees_sub_nets_a_curl_line_and_the_url() -> None:
    assert subnets_text("pets", PREPARED).splitlines() == [
        "pets: 2 sub-nets on 2 threads",
        "  s50      sparsity  50%  accuracy 90.00%        p50 4.000 ms  p99 6.000 ms  scripted",
        "  s90      sparsity  90%  accuracy 80.00%        p50 1.000 ms  p99 1.500 ms  scripted",
        "  note: engine sparse: not here",
    ]
    assert ready_text("http://x:1", Path("cat.jpg")).splitlines() == [
        "",
        "Try:   curl -i -H 'X-Latency-Budget-Ms: 50' --data-binary @cat.jpg http://x:1/predict",
        "Open:  http://x:1",
    ]


def test_the_operator_is_told_that_tuning_is_to_come_and_what_it_brought(tmp_path: Path) -> None:
    later = replace(
        PREPARED,
        improvement=Improvement(Effort(), ProfileCache(JsonCache(tmp_path)), Reference(tiny_artifact())),
    )
    text = subnets_text("pets", later)
    assert "  note: measured roughly; tuning goes on while no request waits\n" in text
    assert improved_text("pets", profile(SPEC)).splitlines() == [
        "pets: tuned for this machine, profile cached",
        "  s50      sparsity  50%  accuracy 90.00%        p50 4.000 ms  p99 6.000 ms  scripted",
        "  s90      sparsity  90%  accuracy 80.00%        p50 1.000 ms  p99 1.500 ms  scripted",
    ]


def test_progress_goes_to_stderr_and_leaves_nothing_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar() as report:
        report(0.5, "measuring")
    assert capsys.readouterr().out == ""


def test_models_loaded_at_start_are_printed_with_the_url_and_a_replaced_one_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = ServerConsole()
    with console.loading() as report:
        report(0.5, "measuring")
        console.loaded("pets", PREPARED)
        assert capsys.readouterr().out == ""
    console.ready("http://x:1", Path("cat.jpg"))
    started = subnets_text("pets", PREPARED) + "\n" + ready_text("http://x:1", Path("cat.jpg")) + "\n"
    assert capsys.readouterr().out == started
    console.loaded("pets", PREPARED)
    assert capsys.readouterr().out == subnets_text("pets", PREPARED) + "\n"
    console.improved("pets", profile(SPEC))
    assert capsys.readouterr().out == improved_text("pets", profile(SPEC)) + "\n"
