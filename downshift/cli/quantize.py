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

    from downshift.cli.console import percent, print_table, progress_bar
    from downshift.models.artifact import read, write
    from downshift.models.bundled import locate
    from downshift.runtime.profiling.calibration import LabelledImages, calibrate
    from downshift.trainer.data import datasets

    artifact = read(locate(model))
    manifest, origin = artifact.manifest, artifact.manifest.provenance
    trained_with = origin.recipe.get("data", {}) if origin.dataset == dataset else {}
    data = datasets.load(
        dataset,
        data_dir,
        validation=trained_with.get("validation", 2000),
        seed=origin.seed,
        test=trained_with.get("test", "official"),
    )
    if (data.shape, len(data.labels)) != (manifest.input.shape, len(manifest.labels)):
        raise typer.BadParameter(
            f"--dataset {dataset} has {len(data.labels)} classes of {data.shape} images, "
            f"{model} is for {len(manifest.labels)} classes of {manifest.input.shape}"
        )
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
