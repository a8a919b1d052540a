"""`downshift quantize`: activation ranges and int8 accuracy of every sub-net, added to an artifact."""

from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import DATA, DataDir, Json, Model, option

EXAMPLE = "downshift quantize model.onnx --dataset cifar10 --data-dir data --out model-int8.onnx"


def quantize(
    model: Model,
    dataset: Annotated[str, option("Data set to calibrate and validate on, such as cifar10", False)],
    out: Annotated[Path, option("Artifact to write; may be the one that is read", False, "-o", "--out")],
    data_dir: DataDir = DATA,
    images: Annotated[int, option("Training images to calibrate on", min=1, max=100_000)] = 512,
    as_json: Json = False,
) -> None:
    """Calibrate every sub-net for int8 on training images; measure its accuracy on the validation split."""
    import json

    from downshift.cli.artifact_data import load_for
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.artifact import read, write
    from downshift.models.bundled import locate
    from downshift.runtime.profiling.calibration import LabelledImages, calibrate

    artifact = read(locate(model))
    data, _ = load_for(artifact.manifest, dataset, data_dir)
    chosen = data.train.images[:images].numpy()
    validation = LabelledImages(data.validation.images.numpy(), data.validation.labels.numpy())
    with progress_bar() as report:
        quantized = calibrate(artifact, chosen, validation, report)
    write(out, quantized)
    subnets = quantized.manifest.subnets
    if as_json:
        rows = [
            {"subnet": s.name, "fp32": s.accuracy, "int8": None if s.int8 is None else s.int8.accuracy}
            for s in subnets
        ]
        typer.echo(json.dumps({"validation_images": len(validation.labels), "subnets": rows}, indent=2))
        return
    typer.echo(f"wrote {out}: calibrated on {len(chosen):,} images, validated on {len(validation.labels):,}")
    print_table(
        ("sub-net", "sparsity", "fp32 accuracy", "int8 accuracy"),
        (
            (
                *(s.name, f"{s.sparsity:.4f}", percent(s.accuracy)),
                "not quantised" if s.int8 is None else percent(s.int8.accuracy),
            )
            for s in subnets
        ),
    )
