"""`downshift simulate`: scheduling policies compared in virtual time."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from downshift.cli.options import Json, Threads, option

if TYPE_CHECKING:
    from downshift.runtime.profiling.profile import Profile

EXAMPLE = "downshift simulate --profile model.onnx --trace gamma:rate=500,cv2=4,seconds=20"
MOST_EXECUTORS = 100_000  # simulated ones; more would take minutes before the first request


def simulate(
    profile: Annotated[str, option("Profile (a .json file), or a MODEL to profile", False, "--profile")],
    trace: Annotated[
        str, option("Trace: a file of arrival times, or a process such as poisson:rate=9,seconds=60", False)
    ],
    policy: Annotated[str, option("Policies, comma-separated, or all")] = "downshift,slackfit,oracle",
    slo_ms: Annotated[
        float, option("Latency budget of every request, in milliseconds", "100", "--slo-ms")
    ] = 100.0,
    executors: Annotated[int, option("Batches that run in parallel", "1", min=1, max=MOST_EXECUTORS)] = 1,
    load: Annotated[
        str | None,
        option("Mean loads to scale the trace to, in capacities of the densest sub-net: 1,2,4", "as it is"),
    ] = None,
    out: Annotated[Path | None, option("Folder for results.csv and plots", "none")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Replay a trace of arrivals in virtual time under several scheduling policies."""
    import json

    from downshift.cli.console import percent, print_table
    from downshift.runtime.simulator import comparison, report
    from downshift.runtime.simulator.engine import Scenario

    if not 0 < slo_ms < float("inf"):
        raise typer.BadParameter(f"--slo-ms {slo_ms}: give milliseconds above 0, such as 100")
    loads = comparison.loads(load)
    arrivals = comparison.trace(trace)
    measured = _profile(profile, threads)
    policies = comparison.policy_names(policy, measured)
    results = comparison.sweep(
        Scenario(arrivals, measured, slo=slo_ms / 1e3, executors=executors), policies, loads
    )
    if out is not None:
        report.write(out, results)
    if as_json:
        typer.echo(json.dumps(report.rows(results), indent=2))
        return
    print_table(
        ("policy", "load", "attainment", "served accuracy", "effective", "goodput /s", "worst second"),
        (
            (
                *(r.summary.policy, f"{r.load:.2f}", percent(r.summary.attainment)),
                *(percent(value) for value in (r.summary.served_accuracy, r.summary.effective_accuracy)),
                *(f"{r.summary.goodput:,.1f}", percent(r.summary.worst_second)),
            )
            for r in results
        ),
    )


def _profile(source: str, threads: int | None) -> "Profile":
    """The profile in that file or, of a model, the one cached for this machine or measured now."""
    if source.endswith(".json"):
        if threads is not None:
            raise typer.BadParameter(
                f"--threads {threads} contradicts --profile {source}, which was measured: give one"
            )
        from downshift.runtime.simulator.profile_file import read

        return read(Path(source))
    from downshift.cli.console import progress_bar
    from downshift.models.bundled import locate
    from downshift.runtime.preparation import Setup, prepare

    with progress_bar() as report:
        return prepare(locate(source), Setup(threads=threads), report).profile
