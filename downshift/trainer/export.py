"""From a trained supernet to the artifact that serves it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from downshift.models.encode import encode
from downshift.models.spec import LayerSpec, Manifest, NormSpec, SubnetSpec, standard_error
from downshift.trainer.cost import weight_uses
from downshift.trainer.graph import OUTPUT, onnx_graph
from downshift.trainer.report.provenance import provenance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from downshift.models.artifact import Artifact
    from downshift.models.layers.masked_layer import MaskedLayer
    from downshift.models.layers.switchable_norm import SwitchableNorm
    from downshift.models.pattern import Pattern
    from downshift.models.spec import InputSpec
    from downshift.models.supernet import Supernet
    from downshift.trainer.recipe import Recipe

SPARSITY_DIGITS = 6
NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def export(  # noqa: PLR0913 - what an artifact says, once
    supernet: Supernet,
    recipe: Recipe,
    image: InputSpec,
    labels: tuple[str, ...],
    validation: Mapping[str, float],
    *,
    images: int = 0,
    patterns: Sequence[Pattern] | None = None,
) -> Artifact:
    """Every sub-net of `supernet`, with its `validation` accuracy by name, as one sealed artifact.

    images: how many the accuracies were measured on, which gives their standard error; 0 where unknown.
    patterns: which the masks obey; by default the recipe's.
    Equal supernets give equal artifacts: nothing in it tells the time or the place. Raises `ArtifactError`
    when training has left a weight that is not finite, `ExportError` for a network whose graph does not hold
    the masked weights as they are.
    """
    layers = {f"{name}.{layer.parameter}": layer for name, layer in supernet.masked_layers.items()}
    norms = supernet.switchable_norms
    manifest = Manifest(
        network=recipe.network.name,
        subnets=tuple(
            replace(each, standard_error=standard_error(validation[each.name], images) if images else None)
            for each in subnet_specs(supernet, recipe, image.shape, validation, patterns)
        ),
        input=image,
        output=OUTPUT,
        labels=labels,
        masks=supernet.encoding,
        layers=tuple(LayerSpec(name, tuple(m.weight.shape)) for name, m in layers.items()),
        norms=tuple(_norm_spec(name, norm) for name, norm in norms.items()),
        provenance=provenance(recipe),
    )
    densest = supernet.plain(0).cpu().to(memory_format=torch.contiguous_format)
    return encode(
        onnx_graph(densest, image.shape, layers),
        manifest,
        masks={name: _masks(layer) for name, layer in layers.items()},
        norms=[_norm_stack(norm) for norm in norms.values()],
        weights={name: _floats(layer.weight) for name, layer in layers.items()},
    )


def subnet_specs(
    supernet: Supernet,
    recipe: Recipe,
    shape: tuple[int, int, int],
    validation: Mapping[str, float],
    patterns: Sequence[Pattern] | None = None,
) -> tuple[SubnetSpec, ...]:
    """What every sub-net is and what it is worth, densest first; counted from its masks."""
    layers = {f"{name}.{layer.parameter}": layer for name, layer in supernet.masked_layers.items()}
    plain = supernet.plain(0)
    uses = weight_uses(plain, shape)
    sizes = {name: plain.get_parameter(name).numel() for name in uses}
    total = sum(layer.weight.numel() for layer in layers.values())
    specs = []
    for index, (name, pattern) in enumerate(zip(recipe.names, patterns or recipe.patterns, strict=True)):
        kept = {layer: int(m.stack.mask(index).sum()) for layer, m in layers.items()}
        nonzeros = sum(kept.values())
        flops = 2 * sum(count * kept.get(layer, sizes[layer]) for layer, count in uses.items())
        sparsity = round(1.0 - nonzeros / total, SPARSITY_DIGITS)
        specs.append(SubnetSpec(name, sparsity, pattern, validation[name], flops, nonzeros))
    return tuple(specs)


def _masks(layer: MaskedLayer) -> NDArray[np.bool_]:
    """What every sub-net keeps, [S, *shape]."""
    stack = layer.stack
    return np.stack([stack.mask(index).cpu().contiguous().numpy() for index in range(stack.count)])


def _norm_spec(name: str, norm: SwitchableNorm) -> NormSpec:
    scale, bias, mean, var = (f"{name}.{part}" for part in NORM_PARTS)
    return NormSpec(scale, bias, mean, var, norm.get_parameter("norms.0.weight").numel())


def _norm_stack(norm: SwitchableNorm) -> NDArray[np.float32]:
    """Scale, bias, mean and variance of every sub-net, [S, 4, channels]."""
    return np.stack([np.stack([_floats(getattr(one, part)) for part in NORM_PARTS]) for one in norm.norms])


def _floats(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.detach().cpu().contiguous().numpy()
