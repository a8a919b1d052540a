"""The command line: a thin dispatcher that imports what a command needs only when that command runs.

Exit codes: 0 done; 2 wrong input, which one line on stderr explains; 130 interrupted. Any other
failure is a defect of ours and shows its traceback.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

# Base errors whose text is meant for the user, by name: to recognise one, nothing needs importing.
EXPECTED = frozenset(
    {
        "downshift.models.errors.ModelsError",
        "downshift.runtime.errors.RuntimeFault",
        "downshift.server.errors.ServerFault",
        "downshift.trainer.errors.TrainerError",
    }
)
MOST_EXECUTORS = 100_000  # simulated ones; more would take minutes before the first request
MOST_THREADS = 256  # as `downshift.runtime.machine` has it, which a help text does without
TRAINING_ONLY = frozenset(
    {"torch", "torchvision", "onnxscript", "safetensors", "sklearn", "matplotlib", "tensorboard"}
)
WRONG_INPUT = 2
WIDE = 200  # columns of a table that goes into a pipe, where nothing may be cut off


class Commands(TyperGroup):
    """The commands; each ends in an exit code, and an expected error in one line on stderr."""

    def main(self, *args: Any, **extra: Any) -> NoReturn:
        """Run the command that the arguments name, then exit."""
        try:
            code = super().main(*args, **{**extra, "standalone_mode": False})
        except typer.TyperException as error:
            context = getattr(error, "ctx", None)
            usage = f" (see {context.command_path} --help)" if context else ""
            _refuse(f"{error.format_message().rstrip('.')}{usage}")
        except Exception as error:
            if (line := explain(error)) is None:
                raise
            _refuse(line)
        sys.exit(code or 0)


def explain(error: Exception) -> str | None:
    """The one line a user needs about an expected error; None for a defect of ours."""
    if EXPECTED & {f"{base.__module__}.{base.__qualname__}" for base in type(error).__mro__}:
        return str(error)
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    if isinstance(error, ModuleNotFoundError) and error.name in TRAINING_ONLY:
        return f"this needs {error.name}, which serving does without: pip install 'downshift[train]'"
    return None


def _refuse(message: str) -> NoReturn:
    typer.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(WRONG_INPUT)


app = typer.Typer(
    cls=Commands,
    help="One network, trained once, served at many speeds.",
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _argument(name: str, text: str) -> Any:
    return typer.Argument(metavar=name, help=text, show_default=False)


def _option(text: str, default: str | bool = True, *flags: str, **limits: Any) -> Any:
    return typer.Option(*flags, help=text, show_default=default, **limits)


Model = Annotated[str, _argument("MODEL", "A model.onnx, or the name of a bundled network.")]
Subnet = Annotated[str, _option("Name of a sub-net, such as s90.", False)]
Threads = Annotated[
    int | None, _option("Threads a sub-net computes with.", "physical cores", min=1, max=MOST_THREADS)
]
DataDir = Annotated[Path, _option("Where data sets lie, or are downloaded to.")]
Json = Annotated[bool, _option("Print JSON.", False, "--json")]
DATA = Path("data")


@app.callback(invoke_without_command=True)
def overview(
    context: typer.Context,
    version: Annotated[bool, _option("Print the version.", False, "--version")] = False,
) -> None:
    """One network, trained once, served at many speeds."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"downshift {installed('downshift')}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog="Example: downshift train cifar10-resnet20 --data-dir data --set run.epochs=20")
def train(
    recipe: Annotated[str, _argument("RECIPE", "A bundled recipe, such as digits, or a .toml file.")],
    out: Annotated[Path | None, _option("Where the run leaves its files.", "runs/RECIPE")] = None,
    data_dir: DataDir = DATA,
    overrides: Annotated[
        list[str] | None,
        _option("Replace a value of the recipe; repeatable.", False, "--set", metavar="KEY=VALUE"),
    ] = None,
    resume: Annotated[bool, _option("Go on with the run that lies in --out.", False, "--resume")] = False,
    device: Annotated[str, _option("cpu, cuda, cuda:1, ...; auto takes a GPU if there is one.")] = "auto",
) -> None:
    """Train a supernet and leave its artifact, model.onnx, with a report."""
    from downshift.trainer import recipe as recipes
    from downshift.trainer.progress import ProgressBar
    from downshift.trainer.train import train as run

    chosen, folder = recipes.load(recipe, overrides or ()), out or Path("runs") / Path(recipe).stem
    with ProgressBar() as bar:
        run(chosen, folder, data_dir=data_dir, resume=resume, device=device, report=bar)


@app.command(epilog="Example: downshift evaluate model.onnx --dataset cifar10 --data-dir data")
def evaluate(
    model: Model,
    dataset: Annotated[str, _option("Name of a data set, such as cifar10.", False)],
    data_dir: DataDir = DATA,
    test: Annotated[str | None, _option("Which test split.", "the recipe's")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure the accuracy of every sub-net, as it is served, on a data set's test split."""
    from downshift.models.artifact import read
    from downshift.runtime.engines.programs import compile_artifact, load_engines
    from downshift.runtime.machine import default_threads
    from downshift.runtime.profiling.accuracy import top1
    from downshift.runtime.profiling.profile_cache import default_folder
    from downshift.server.console import progress_bar
    from downshift.trainer.data import datasets

    artifact = read(_artifact(model))
    manifest, origin = artifact.manifest, artifact.manifest.provenance
    trained_with = origin.recipe.get("data", {}) if origin.dataset == dataset else {}
    split = test or trained_with.get("test", "official")
    data = datasets.load(dataset, data_dir, validation=1, seed=0, test=split)  # only the test split is used
    if (data.shape, len(data.labels)) != (manifest.input.shape, len(manifest.labels)):
        raise typer.BadParameter(
            f"--dataset {dataset} has {len(data.labels)} classes of {data.shape} images, "
            f"{model} is for {len(manifest.labels)} classes of {manifest.input.shape}"
        )
    engines = load_engines(None, default_folder())
    programs = compile_artifact(artifact, engines, threads=threads or default_threads())
    images, labels = data.test.images.numpy(), data.test.labels.numpy()
    measured = []
    with progress_bar() as report:
        for index, name in enumerate(manifest.names):
            report(index / len(manifest.names), f"{name} on {len(labels):,} images")
            measured.append(top1(programs.get(name), images, labels, manifest.input))
    if as_json:
        rows = [
            {"subnet": name, "accuracy": ratio} for name, ratio in zip(manifest.names, measured, strict=True)
        ]
        typer.echo(
            json.dumps({"dataset": dataset, "test": split, "images": len(labels), "subnets": rows}, indent=2)
        )
        return
    typer.echo(f"{model} on {len(labels):,} test images of {dataset} ({split})")
    _table(
        ("sub-net", "sparsity", "accuracy", "on validation"),
        (
            (s.name, f"{s.sparsity:.4f}", _percent(accuracy), _percent(s.accuracy))
            for s, accuracy in zip(manifest.subnets, measured, strict=True)
        ),
    )


@app.command(epilog="Example: downshift inspect model.onnx")
def inspect(model: Model, as_json: Json = False) -> None:
    """Show what an artifact says about itself: its sub-nets, input and origin."""
    from downshift.models import artifact, manifest_json

    manifest = artifact.read(_artifact(model)).manifest
    if as_json:
        typer.echo(manifest_json.dumps(manifest))
        return
    origin, shape = manifest.provenance, " x ".join(map(str, manifest.input.shape))
    typer.echo(f"{manifest.network}: {shape} input, {len(manifest.labels)} classes")
    typer.echo(f"trained on {origin.dataset}, seed {origin.seed}; sha256 {manifest.sha256}")
    _table(
        ("sub-net", "sparsity", "pattern", "accuracy", "non-zeros", "MFLOPs"),
        (
            (
                s.name,
                f"{s.sparsity:.4f}",
                str(s.pattern),
                _percent(s.accuracy),
                f"{s.nonzeros:,}",
                f"{s.flops / 1e6:.2f}",
            )
            for s in manifest.subnets
        ),
    )


@app.command(epilog="Example: downshift export model.onnx --subnet s90 -o s90.onnx")
def export(
    model: Model,
    subnet: Subnet,
    out: Annotated[Path, _option("The ONNX file to write.", False, "-o", "--out")],
) -> None:
    """Write one sub-net as a plain ONNX file that any runtime runs."""
    from downshift.models.artifact import read
    from downshift.models.atomic import write_atomically
    from downshift.models.materialize import materialize

    if not out.parent.is_dir():
        raise typer.BadParameter(f"--out {out}: the folder {out.parent} does not exist; create it first")
    if out.is_dir():
        raise typer.BadParameter(f"--out {out}: this is a folder; name a file, such as {out / 'model.onnx'}")
    plain = materialize(read(_artifact(model)), subnet).SerializeToString(deterministic=True)
    write_atomically(out, plain)
    typer.echo(f"wrote {out}: sub-net {subnet}, {len(plain):,} bytes")


@app.command(epilog="Example: downshift profile model.onnx --threads 2")
def profile(
    model: Model,
    threads: Threads = None,
    remeasure: Annotated[
        bool, _option("Measure again even if a profile is kept.", False, "--remeasure")
    ] = False,
    plot: Annotated[
        Path | None, _option("A PNG of accuracy against latency; needs the train extra.", "none")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure how long every sub-net takes on this machine, per engine and batch size."""
    from downshift.cli import plots as pareto
    from downshift.runtime.preparation import Setup, prepare
    from downshift.server.console import progress_bar

    with progress_bar() as report:
        prepared = prepare(_artifact(model), Setup(threads=threads, remeasure=remeasure), report)
    measurements, dominated = prepared.profile.measurements, prepared.profile.dominated
    if plot is not None:
        pareto.draw(plot, prepared.profile)
    if as_json:
        typer.echo(json.dumps([asdict(measurement) for measurement in measurements], indent=2))
        return
    for reason in prepared.programs.skipped:
        typer.echo(f"note: {reason}", err=True)
    _table(
        ("sub-net", "sparsity", "accuracy", "engine", "batch", "p50 ms", "p95 ms", "p99 ms", "chosen", ""),
        (
            (
                *(m.subnet, f"{m.sparsity:.4f}", _percent(m.accuracy), m.engine, str(m.batch_size)),
                *(f"{seconds * 1e3:.3f}" for seconds in (m.p50, m.p95, m.p99)),
                "yes" if m.chosen else "",
                "dominated" if m.subnet in dominated else "",
            )
            for m in measurements
        ),
    )
    for name in sorted(dominated):
        typer.echo(f"{name} is dominated: another sub-net is at least as accurate and at least as fast")


@app.command(epilog="Example: downshift predict model.onnx photo.jpg --budget-ms 5")
def predict(
    model: Model,
    image: Annotated[Path, _argument("IMAGE", "A JPEG, PNG, WebP, GIF, BMP or TIFF file.")],
    budget_ms: Annotated[float | None, _option("Latency budget in milliseconds.", "none")] = None,
    subnet: Annotated[str | None, _option("Answer with exactly this sub-net.", "what fits")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Label one image with the most accurate sub-net that fits the budget, or with the one named."""
    import time

    from downshift.models.images.preprocess import read_input
    from downshift.models.images.reader import read_image
    from downshift.runtime.deployment import Deployment
    from downshift.runtime.preparation import Setup, prepare
    from downshift.runtime.request import Request
    from downshift.server.console import progress_bar
    from downshift.server.images.predict import DEFAULT_TOP_K, top_labels

    if budget_ms is not None and not 0 < budget_ms < float("inf"):
        raise typer.BadParameter(f"--budget-ms {budget_ms}: give milliseconds above 0, such as 5")
    picture = image.read_bytes()
    read_image(picture)  # a bad one fails now, not after profiling
    with progress_bar() as report:
        prepared = prepare(_artifact(model), Setup(threads=threads), report)
    inputs = read_input(picture, prepared.manifest.input)
    with Deployment(prepared) as deployment:
        deadline = None if budget_ms is None else time.monotonic() + budget_ms / 1e3
        answer = deployment.submit(Request(inputs, deadline=deadline, subnet=subnet)).result()
    used, labels = answer.subnet, top_labels(answer.outputs[0], prepared.manifest.labels, DEFAULT_TOP_K)
    if as_json:
        how = {
            "subnet": used.name,
            "sparsity": used.sparsity,
            "accuracy": used.accuracy,
            "engine": answer.engine,
        }
        typer.echo(
            json.dumps({"predictions": labels, **how, "compute_seconds": answer.compute_seconds}, indent=2)
        )
        return
    _table(("label", "probability"), ((entry["label"], _percent(entry["probability"])) for entry in labels))
    took = f"{answer.compute_seconds * 1e3:.3f} ms"
    typer.echo(f"sub-net {used.name} (accuracy {_percent(used.accuracy)}) on {answer.engine} in {took}")


@app.command(
    epilog="Example: downshift simulate --profile model.onnx --trace gamma:rate=500,cv2=4,seconds=20"
)
def simulate(
    profile: Annotated[str, _option("A profile .json, or a MODEL to profile.", False, "--profile")],
    trace: Annotated[str, _option("A file of arrivals, or a text such as poisson:rate=9,seconds=60.", False)],
    policy: Annotated[str, _option("Policies, comma-separated, or all.")] = "downshift,slackfit,oracle",
    slo_ms: Annotated[float, _option("Every request's latency budget.", "100", "--slo-ms")] = 100.0,
    executors: Annotated[int, _option("How many batches run at once.", "1", min=1, max=MOST_EXECUTORS)] = 1,
    load: Annotated[
        str | None,
        _option("Mean loads to scale the trace to, in capacities of the densest sub-net: 1,2,4.", "as it is"),
    ] = None,
    out: Annotated[Path | None, _option("A folder for the CSV and the plots.", "none")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Replay a trace in virtual time under several policies and print how each would have done."""
    from downshift.runtime.simulator import comparison, report
    from downshift.runtime.simulator.engine import Scenario

    if not 0 < slo_ms < float("inf"):
        raise typer.BadParameter(f"--slo-ms {slo_ms}: give milliseconds above 0, such as 100")
    loads = comparison.loads(load)
    arrivals = comparison.trace(trace)
    measured = _profile(profile, threads)
    policies = comparison.policy_names(policy, measured)
    results = comparison.sweep(Scenario(arrivals, measured, slo_ms / 1e3, executors), policies, loads)
    if out is not None:
        report.write(out, results)
    if as_json:
        typer.echo(json.dumps(report.rows(results), indent=2))
        return
    _table(
        ("policy", "load", "attainment", "served accuracy", "effective", "goodput /s", "worst second"),
        (
            (
                *(r.summary.policy, f"{r.load:.2f}", _percent(r.summary.attainment)),
                *(_percent(value) for value in (r.summary.served_accuracy, r.summary.effective_accuracy)),
                *(f"{r.summary.goodput:,.1f}", _percent(r.summary.worst_second)),
            )
            for r in results
        ),
    )


@app.command(epilog="Example: downshift serve model.onnx digits=runs/digits/model.onnx --port 8000")
def serve(
    models: Annotated[
        list[str] | None,
        _argument("[NAME=]MODEL ...", "Files, or names of bundled networks; the first answers by default."),
    ] = None,
    host: Annotated[str | None, _option("Address to listen on.", "127.0.0.1")] = None,
    port: Annotated[int | None, _option("Port to listen on; 0 takes a free one.", "8000")] = None,
    threads: Threads = None,
    metrics_port: Annotated[int | None, _option("A port for /metrics alone.", "none")] = None,
    access_log: Annotated[
        str | None, _option("A file for one line of JSON a request; - is standard output.", "none")
    ] = None,
    log_json: Annotated[bool, _option("Write the server's log as JSON, too.", False, "--log-json")] = False,
    otel: Annotated[bool, _option("Send OpenTelemetry spans (downshift\\[otel]).", False, "--otel")] = False,
    repository: Annotated[
        Path | None, _option("A folder whose models may be loaded over HTTP; without MODEL, all are.", "none")
    ] = None,
    watch: Annotated[bool, _option("Load a model again when its file changes.", False, "--watch")] = False,
    api_keys_file: Annotated[
        Path | None, _option("Keys, one a line, of those who may ask.", "everybody may")
    ] = None,
    admin_keys_file: Annotated[
        Path | None, _option("Keys, one a line, with which models may be loaded and unloaded.", "none")
    ] = None,
    ssl_certfile: Annotated[Path | None, _option("A PEM certificate: serve HTTPS.", "none")] = None,
    ssl_keyfile: Annotated[Path | None, _option("Its PEM key.", "none")] = None,
    tune: Annotated[
        bool, _option("Look for faster programs while no request waits.", True, "--tune/--no-tune")
    ] = True,
) -> None:
    """Serve models over HTTP: every request gets the most accurate sub-net that fits its budget."""
    from downshift.server.serve import run

    run(
        *map(_named, models or ()),
        host=host,
        port=port,
        threads=threads,
        metrics_port=metrics_port,
        access_log=access_log,
        log_json=log_json or None,
        otel=otel or None,
        repository=repository,
        watch=watch or None,
        api_keys_file=api_keys_file,
        tune=None if tune else False,
        admin_keys_file=admin_keys_file,
        ssl_certfile=ssl_certfile,
        ssl_keyfile=ssl_keyfile,
    )


def _named(model: str) -> str | Path:
    """NAME=PATH, or PATH, with the path of a bundled network in place of its name."""
    name, equals, path = model.partition("=")
    return f"{name}={_artifact(path)}" if equals and not Path(model).exists() else _artifact(model)


def _profile(source: str, threads: int | None) -> Any:
    """The profile in that file or, of a model, the one kept for this machine or measured now."""
    if source.endswith(".json"):
        if threads is not None:
            raise typer.BadParameter(
                f"--threads {threads} contradicts --profile {source}, which was measured: give one"
            )
        from downshift.runtime.simulator.profile_file import read

        return read(Path(source))
    from downshift.runtime.preparation import Setup, prepare
    from downshift.server.console import progress_bar

    with progress_bar() as report:
        return prepare(_artifact(source), Setup(threads=threads), report).profile


def _artifact(model: str) -> Path:
    """The file at that path or, when there is none, the bundled network of that name."""
    from importlib.resources import files

    path = Path(model)
    bundled = Path(str(files("downshift.models"))) / "zoo" / f"{model}.onnx"
    return bundled if bundled.is_file() and not path.exists() else path


def _table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print rows under columns, the first column to the left, the others to the right."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else WIDE, highlight=False).print(table)


def _percent(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{100 * ratio:.2f} %"


if __name__ == "__main__":
    app()
