"""`downshift train`: from a recipe to an artifact with a report."""

from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import DATA, DataDir, argument, option

EXAMPLE = "downshift train cifar10-resnet20 --data-dir data --set run.epochs=20"


def train(
    recipe: Annotated[str, argument("RECIPE", "Name of a bundled recipe, such as digits, or a .toml file")],
    out: Annotated[Path | None, option("Folder for the run's files", "runs/RECIPE")] = None,
    data_dir: DataDir = DATA,
    overrides: Annotated[
        list[str] | None,
        option("Override one value of the recipe; repeatable", False, "--set", metavar="KEY=VALUE"),
    ] = None,
    resume: Annotated[
        bool, option("Continue the run in --out from its last checkpoint", False, "--resume")
    ] = False,
    device: Annotated[str, option("Device: auto (a GPU if there is one), cpu, cuda, cuda:1, ...")] = "auto",
    as_json: Annotated[bool, option("Print the accuracies as JSON", False, "--json")] = False,
) -> None:
    """Train a supernet and write its artifact, model.onnx, with a report.

    Ctrl-C keeps the last checkpoint; --resume continues from it.
    """
    import json

    from downshift.api.quantization import quantize_trained
    from downshift.api.training import leads
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.cli.training_bar import TrainingBar
    from downshift.models.artifact import read
    from downshift.trainer import recipe_toml as recipes
    from downshift.trainer.report.results import ARTIFACT
    from downshift.trainer.train import train as run

    chosen, folder = recipes.load(recipe, overrides or ()), out or Path("runs") / Path(recipe).stem
    with TrainingBar() as bar:
        outcome = run(chosen, folder, data_dir=data_dir, resume=resume, device=device, report=bar)
    if not leads():
        return
    artifact = folder / ARTIFACT
    names = list(outcome.validation)
    int8: dict[str, float | None] = {}
    if chosen.run.quantize:
        with progress_bar() as report:
            subnets = quantize_trained(artifact, chosen, data_dir, report).manifest.subnets
        int8 = {s.name: s.int8.accuracy for s in subnets if s.int8}
    if as_json:
        rows = [
            {
                "subnet": name,
                "validation": outcome.validation[name],
                "test": outcome.test[name],
                **({"int8": int8[name]} if name in int8 else {}),
            }
            for name in names
        ]
        typer.echo(json.dumps({"artifact": str(artifact), "subnets": rows}, indent=2))
        return
    errors = {each.name: each.standard_error for each in read(artifact).manifest.subnets}
    print_table(
        ("sub-net", "validation accuracy", "test accuracy", *(["int8 on validation"] if int8 else [])),
        (
            (
                *(name, percent(outcome.validation[name], errors[name]), percent(outcome.test[name])),
                *([percent(int8[name]) if name in int8 else "not quantised"] if int8 else []),
            )
            for name in names
        ),
    )
    typer.echo(f"wrote {artifact}")
