"""Tiny networks of the kinds that have linear layers, attention and LayerNorm; weights are random."""

from __future__ import annotations

import importlib.util

import pytest
from torch import nn
from torchvision.models import convnext, maxvit, swin_transformer, vision_transformer

CLASSES = 4
needs_timm = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed: pip install -e '.[dev]'"
)


def convnext_tiny() -> nn.Module:
    """torchvision's convnext_tiny with two stages of one block."""
    block = convnext.CNBlockConfig
    return convnext.ConvNeXt([block(8, 16, 1), block(16, None, 1)], num_classes=CLASSES)


def maxvit_t() -> nn.Module:
    """torchvision's maxvit_t with two stages of one block."""
    return maxvit.MaxVit(
        input_size=(32, 32),
        stem_channels=8,
        partition_size=2,
        block_channels=[8, 16],
        block_layers=[1, 1],
        head_dim=4,
        stochastic_depth_prob=0.0,
        num_classes=CLASSES,
    )


def swin_t() -> nn.Module:
    """torchvision's swin_t with two stages of two blocks."""
    return swin_transformer.SwinTransformer(
        patch_size=[2, 2],
        embed_dim=8,
        depths=[2, 2],
        num_heads=[2, 2],
        window_size=[2, 2],
        stochastic_depth_prob=0.0,
        num_classes=CLASSES,
    )


def vit_b_16() -> nn.Module:
    """torchvision's vit_b_16 with two layers."""
    network = vision_transformer.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=CLASSES
    )
    nn.init.normal_(network.heads.head.weight)  # torchvision starts it at zero, where all sub-nets agree
    return network


def timm_vit_tiny() -> nn.Module:
    """timm's vit_tiny with two blocks."""
    from timm.models.vision_transformer import VisionTransformer

    network: nn.Module = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=CLASSES
    )
    return network


def timm_swin_tiny() -> nn.Module:
    """timm's swin_tiny with two stages of two blocks."""
    from timm.models.swin_transformer import SwinTransformer

    network: nn.Module = SwinTransformer(
        img_size=32,
        patch_size=4,
        window_size=2,
        embed_dim=8,
        depths=(2, 2),
        num_heads=(2, 2),
        num_classes=CLASSES,
    )
    return network


NETWORKS = [
    convnext_tiny,
    maxvit_t,
    swin_t,
    vit_b_16,
    pytest.param(timm_vit_tiny, marks=needs_timm),
    pytest.param(timm_swin_tiny, marks=needs_timm),
]
SIDE = 32
