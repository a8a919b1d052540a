"""`downshift export`: one sub-net as plain ONNX."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from downshift.cli.options import Model, check_output, option


class Precision(StrEnum):
    """The arithmetic of an exported sub-net."""

    FP32 = "fp32"
    INT8 = "int8"


EXAMPLE = "downshift export model.onnx --subnet s90 -o s90.onnx"


def export(
    model: Model,
    subnet: Annotated[str, option("Name of the sub-net, such as s90", False)],
    out: Annotated[Path, option("ONNX file to write", False, "-o", "--out")],
    precision: Annotated[
        Precision, option("fp32, or int8 as QuantizeLinear and DequantizeLinear nodes")
    ] = Precision.FP32,
) -> None:
    """Write one sub-net as a plain ONNX file that any runtime runs."""
    from downshift.models.artifact import read
    from downshift.models.atomic import write_atomically
    from downshift.models.bundled import locate
    from downshift.models.materialize import materialize

    check_output(out)
    artifact = read(locate(model))
    if precision is Precision.INT8:
        from downshift.runtime.engines.exported import qdq_model

        made = qdq_model(artifact, subnet)
    else:
        made = materialize(artifact, subnet)
    plain = made.SerializeToString(deterministic=True)
    write_atomically(out, plain)
    typer.echo(f"wrote {out}: sub-net {subnet}, {len(plain):,} bytes")
