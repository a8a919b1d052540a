"""`downshift inspect`: the manifest of an artifact."""

import typer

from downshift.cli.options import Json, Model

EXAMPLE = "downshift inspect model.onnx"


def inspect(model: Model, as_json: Json = False) -> None:
    """Show an artifact's sub-nets, input and origin."""
    from downshift.cli.console import percent, print_table
    from downshift.models import artifact, manifest_json
    from downshift.models.bundled import locate

    manifest = artifact.read(locate(model)).manifest
    if as_json:
        typer.echo(manifest_json.dumps(manifest))
        return
    origin, shape = manifest.provenance, " x ".join(map(str, manifest.input.shape))
    typer.echo(f"{manifest.network}: {shape} input, {len(manifest.labels)} classes")
    typer.echo(f"trained on {origin.dataset}, seed {origin.seed}; sha256 {manifest.sha256}")
    print_table(
        ("sub-net", "sparsity", "pattern", "accuracy", "in int8", "non-zeros", "MFLOPs"),
        (
            (
                *(s.name, f"{s.sparsity:.4f}", str(s.pattern), percent(s.accuracy, s.standard_error)),
                "-" if s.int8 is None else percent(s.int8.accuracy, s.int8.standard_error),
                *(f"{s.nonzeros:,}", f"{s.flops / 1e6:.2f}"),
            )
            for s in manifest.subnets
        ),
    )
    if any(s.standard_error is not None for s in manifest.subnets):
        typer.echo("accuracy on the validation split ± its standard error")
