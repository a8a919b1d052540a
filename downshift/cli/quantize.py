"""`downshift quantize`: activation ranges and int8 accuracy of every sub-net, added to an artifact."""

from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import DATA, DataDir, Json, Model, check_output, option

EXAMPLE = "downshift quantize model.onnx --dataset cifar10 --data-dir data --out model-int8.onnx"


def quantize(
    model: Model,
    out: Annotated[Path, option("Artifact to write; may be the one that is read", False, "-o", "--out")],
    dataset: Annotated[
        str | None, option("Data set to calibrate and validate on, such as cifar10", False)
    ] = None,
    data: Annotated[
        Path | None,
        option("Folder of images instead: in class folders, or plain (then accuracy stays unknown)", False),
    ] = None,
    data_dir: DataDir = DATA,
    images: Annotated[int, option("Training images to calibrate on", min=1, max=100_000)] = 512,
    as_json: Json = False,
) -> None:
    """Calibrate every sub-net for int8 on training images; measure its accuracy on the validation split.

    Ctrl-C leaves --out as it was.
    """
    import json

    from downshift.api.artifact_data import calibration_data
    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.artifact import read, write
    from downshift.models.bundled import locate
    from downshift.runtime.profiling.calibration import calibrate

    source = dataset or data
    if source is None or (dataset and data):
        raise typer.BadParameter("give either --dataset NAME or --data FOLDER, to calibrate on its images")
    check_output(out)
    artifact = read(locate(model))
    with progress_bar() as report:
        chosen, validation = calibration_data(artifact.manifest, source, data_dir, images, report)
        quantized = calibrate(artifact, chosen, validation, report)
    write(out, quantized)
    subnets, validated = quantized.manifest.subnets, 0 if validation is None else len(validation.labels)
    if as_json:
        rows = [
            {
                "subnet": s.name,
                "fp32": s.accuracy,
                "int8": None if s.int8 is None else s.int8.accuracy,
                "quantised": s.int8 is not None,
            }
            for s in subnets
        ]
        summary = {"calibration_images": len(chosen), "validation_images": validated, "subnets": rows}
        typer.echo(json.dumps(summary, indent=2))
        return
    how = f"validated on {validated:,}" if validated else "int8 accuracy unknown: these images have no labels"
    typer.echo(f"wrote {out}: calibrated on {len(chosen):,} images, {how}")
    print_table(
        ("sub-net", "sparsity", "fp32 accuracy", "int8 accuracy"),
        (
            (
                *(s.name, f"{s.sparsity:.4f}", percent(s.accuracy, s.standard_error)),
                "not quantised" if s.int8 is None else percent(s.int8.accuracy, s.int8.standard_error),
            )
            for s in subnets
        ),
    )
