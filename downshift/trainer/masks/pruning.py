"""Mask updates as pure functions: scores in, masks out.

Every function takes one flat tensor a layer and returns new bool tensors of the same lengths. A layer whose
weights all lose stays empty; it never turns dense again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

Layers = list[Tensor]


def keep_nested(
    scores: Sequence[Tensor], counts: Sequence[int], sizes: Sequence[Tensor] | None = None
) -> list[Layers]:
    """Masks of the counts[i] largest scores for every i, from one ranking: smaller counts are subsets.

    sizes: how much each score counts, int64 >= 1, by default 1. The mask then keeps as many of the ranking as
    come nearest to the count.
    """
    flat = torch.cat(list(scores))
    ranking = flat.argsort(descending=True, stable=True)
    middles: Tensor | None = None
    if sizes is not None:
        ranked = torch.cat(list(sizes))[ranking]
        middles = 2 * ranked.cumsum(0) - ranked  # twice the middle of each score's share of the count
    out = []
    for count in counts:
        mask = torch.zeros_like(flat, dtype=torch.bool)
        kept = count if middles is None else int((middles <= 2 * count).sum())
        mask[ranking[: max(0, kept)]] = True
        out.append(list(torch.split(mask, [s.numel() for s in scores])))
    return out


def drop_and_grow(
    masks: Sequence[Tensor], magnitudes: Sequence[Tensor], gradients: Sequence[Tensor], fraction: float
) -> Layers:
    """Each layer trades the `fraction` smallest of its active weights for as many inactive ones.

    The newcomers are those with the largest dense-gradient magnitude (RigL, Evci et al. 2020; GraNet, Liu et
    al. 2021). Counts per layer stay the same; a weight dropped now is not regrown in the same update.
    """
    out = []
    for mask, magnitude, gradient in zip(masks, magnitudes, gradients, strict=True):
        active = int(mask.sum())
        trade = min(int(fraction * active), mask.numel() - active)
        new = mask.clone()
        if trade:
            smallest = torch.where(mask, magnitude, torch.inf).topk(trade, largest=False).indices
            largest = torch.where(mask, -torch.inf, gradient.abs()).topk(trade).indices
            new[smallest] = False
            new[largest] = True
        out.append(new)
    return out


def n_by_m(score: Tensor, n: int, m: int, share: float = 1.0) -> Tensor:
    """Mask of one layer, given as rows [groups along input channels]: N of M in a `share` of the groups.

    score: [rows, inputs], group j of a row being inputs j*m to j*m + m - 1 (a shorter last group keeps at
    most n). The groups pruned first are those that lose least; `share` = 1 prunes all. Ties keep the earlier
    weight.
    """
    rows, inputs = score.shape
    groups = -(-inputs // m)
    padded = torch.full((rows, groups * m), -torch.inf, dtype=score.dtype, device=score.device)
    padded[:, :inputs] = score
    grouped = padded.view(rows * groups, m)
    order = grouped.argsort(dim=1, descending=True, stable=True)
    keep = torch.zeros_like(grouped, dtype=torch.bool)
    keep.scatter_(1, order[:, :n], value=True)
    lost = torch.where(keep | grouped.isinf(), torch.zeros_like(grouped), grouped).sum(1)
    pruned_groups = round(share * lost.numel())
    whole = torch.ones(lost.numel(), dtype=torch.bool, device=score.device)
    if pruned_groups:
        whole[lost.topk(pruned_groups, largest=False, sorted=False).indices] = False
    keep |= whole[:, None]
    return keep.view(rows, groups * m)[:, :inputs].contiguous()


def trade_in_groups(mask: Tensor, magnitude: Tensor, gradient: Tensor, m: int, fraction: float) -> Tensor:
    """N:M's drop-and-grow: in a `fraction` of the pruned groups the weakest active weight makes way.

    All arguments are [rows, inputs] with groups as in `n_by_m`. The newcomer is the group's inactive weight
    with the largest dense gradient; the groups whose newcomer has the largest one trade first.
    """
    rows, inputs = mask.shape
    groups = inputs // m
    whole = groups * m
    grouped = mask[:, :whole].reshape(-1, m).clone()
    size = magnitude[:, :whole].reshape(-1, m)
    pull = torch.where(grouped, -torch.inf, gradient[:, :whole].reshape(-1, m).abs())
    tradable = grouped.any(1) & ~grouped.all(1)
    trades = int(fraction * int(tradable.sum()))
    if trades:
        strongest, newcomer = pull.max(1)
        weakest = torch.where(grouped, size, torch.inf).argmin(1)
        chosen = torch.where(tradable, strongest, -torch.inf).topk(trades, sorted=False).indices
        grouped[chosen, weakest[chosen]] = False
        grouped[chosen, newcomer[chosen]] = True
    return torch.cat([grouped.view(rows, whole), mask[:, whole:]], dim=1)
