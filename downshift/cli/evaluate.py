"""`downshift evaluate`: accuracy of every sub-net, as it is served."""

from typing import Annotated

import typer

from downshift.cli.options import DATA, DataDir, Json, Model, Threads, option

EXAMPLE = "downshift evaluate model.onnx --dataset cifar10 --data-dir data"


def evaluate(
    model: Model,
    dataset: Annotated[str, option("Name of a data set, such as cifar10", False)],
    data_dir: DataDir = DATA,
    test: Annotated[str | None, option("Test split", "the recipe's, else official")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Measure every sub-net's accuracy, as it is served, on a data set's test split."""
    import json

    from downshift.cli.artifact_data import load_for
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.artifact import read
    from downshift.models.bundled import locate
    from downshift.runtime.engines.programs import compile_artifact, load_engines
    from downshift.runtime.json_cache import JsonCache, default_folder
    from downshift.runtime.machine import default_threads
    from downshift.runtime.profiling.accuracy import top1

    artifact = read(locate(model))
    manifest = artifact.manifest
    data, split = load_for(manifest, dataset, data_dir, test=test)
    engines = load_engines(None, JsonCache(default_folder()))
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
    print_table(
        ("sub-net", "sparsity", "accuracy", "on validation"),
        (
            (s.name, f"{s.sparsity:.4f}", percent(accuracy), percent(s.accuracy))
            for s, accuracy in zip(manifest.subnets, measured, strict=True)
        ),
    )
