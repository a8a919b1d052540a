"""`downshift predict`: the labels of one image."""

from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import Json, Model, Threads, argument, option

TOP_K = 5  # labels shown
EXAMPLE = "downshift predict model.onnx photo.jpg --budget-ms 5"


def predict(
    model: Model,
    image: Annotated[Path, argument("IMAGE", "JPEG, PNG, WebP, GIF, BMP or TIFF file")],
    budget_ms: Annotated[float | None, option("Latency budget in milliseconds", "none")] = None,
    subnet: Annotated[str | None, option("Sub-net to use", "the most accurate within budget")] = None,
    min_accuracy: Annotated[
        float | None, option("Lowest accuracy of the sub-net, in [0, 1]", "none", "--min-accuracy")
    ] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Classify one image with the most accurate sub-net that fits the latency budget."""
    import json

    from downshift.api.model import load
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.images.reader import read_image

    if budget_ms is not None and not 0 < budget_ms < float("inf"):
        raise typer.BadParameter(f"--budget-ms {budget_ms}: give milliseconds above 0, such as 5")
    file = image.read_bytes()
    read_image(file)  # a bad one fails now, not after profiling
    with progress_bar() as report:
        network = load(model, threads=threads, progress=report)
    with network:
        found = network.predict(file, budget_ms=budget_ms, subnet=subnet, min_accuracy=min_accuracy)
    labels = found.labels[0][:TOP_K]
    if as_json:
        answer = {
            "predictions": [{"label": label.name, "probability": label.probability} for label in labels],
            "subnet": found.subnet,
            "sparsity": found.sparsity,
            "accuracy": found.accuracy,
            "engine": found.engine,
            "compute_seconds": found.seconds,
        }
        typer.echo(json.dumps(answer, indent=2))
        return
    print_table(("label", "probability"), ((label.name, percent(label.probability)) for label in labels))
    took = f"{found.seconds * 1e3:.3f} ms"
    typer.echo(f"sub-net {found.subnet} (accuracy {percent(found.accuracy)}) on {found.engine} in {took}")
