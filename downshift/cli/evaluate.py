"""`downshift evaluate`: accuracy of every sub-net, in every precision, as it is served."""

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

    from downshift.api.artifact_data import load_for
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.artifact import read
    from downshift.models.bundled import locate
    from downshift.models.spec import standard_error
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
    points = [manifest.point(name) for name in programs.by_subnet]
    measured = []
    with progress_bar() as report:
        for index, point in enumerate(points):
            report(index / len(points), f"{point.name} on {len(labels):,} images")
            measured.append(top1(programs.get(point.name), images, labels, manifest.input))
    if as_json:
        rows = [
            {"subnet": point.name, "accuracy": ratio, "standard_error": standard_error(ratio, len(labels))}
            for point, ratio in zip(points, measured, strict=True)
        ]
        typer.echo(
            json.dumps({"dataset": dataset, "test": split, "images": len(labels), "subnets": rows}, indent=2)
        )
        return
    typer.echo(
        f"{model} on {len(labels):,} test images of {dataset} ({split}); accuracy ± its standard error"
    )
    print_table(
        ("sub-net", "sparsity", "pattern", "accuracy", "on validation"),
        (
            (
                *(point.name, f"{point.sparsity:.4f}", str(point.subnet.pattern)),
                percent(accuracy, standard_error(accuracy, len(labels))),
                percent(point.accuracy, point.standard_error),
            )
            for point, accuracy in zip(points, measured, strict=True)
        ),
    )
