"""`downshift predict`: the labels of one image."""

from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import Json, Model, Threads, argument, option

EXAMPLE = "downshift predict model.onnx photo.jpg --budget-ms 5"


def predict(
    model: Model,
    image: Annotated[Path, argument("IMAGE", "JPEG, PNG, WebP, GIF, BMP or TIFF file")],
    budget_ms: Annotated[float | None, option("Latency budget in milliseconds", "none")] = None,
    subnet: Annotated[str | None, option("Sub-net to use", "the most accurate within budget")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Classify one image with the most accurate sub-net that fits the latency budget."""
    import json
    import time

    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.bundled import locate
    from downshift.models.images.preprocess import read_input
    from downshift.models.images.reader import read_image
    from downshift.runtime.deployment import Deployment
    from downshift.runtime.preparation import Setup, prepare
    from downshift.runtime.request import Request
    from downshift.server.images.predict import DEFAULT_TOP_K, top_labels

    if budget_ms is not None and not 0 < budget_ms < float("inf"):
        raise typer.BadParameter(f"--budget-ms {budget_ms}: give milliseconds above 0, such as 5")
    picture = image.read_bytes()
    read_image(picture)  # a bad one fails now, not after profiling
    with progress_bar() as report:
        prepared = prepare(locate(model), Setup(threads=threads), report)
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
    print_table(
        ("label", "probability"), ((entry["label"], percent(entry["probability"])) for entry in labels)
    )
    took = f"{answer.compute_seconds * 1e3:.3f} ms"
    typer.echo(f"sub-net {used.name} (accuracy {percent(used.accuracy)}) on {answer.engine} in {took}")
