"""Tiny rows with a label for every pixel, and students for them."""

import numpy as np
import torch
from datasets import Array2D, Dataset, Features, Image
from PIL import Image as PILImage
from torch import nn
from transformers import (
    DPTConfig,
    DPTForDepthEstimation,
    DPTForSemanticSegmentation,
    SegformerConfig,
    SegformerForSemanticSegmentation,
    ViTImageProcessorPil,
)

NAMES = ("ground", "square", "stripes")


def scenes(count: int, *, side: int = 16, seed: int = 0) -> tuple[list, list]:
    """Dark images with a bright square (class 1) on the left or a striped one (2) on the right."""
    generator = np.random.default_rng(seed)
    images, masks = [], []
    for row in range(count):
        pixels, mask = generator.integers(0, 60, (side, side)), np.zeros((side, side), np.uint8)
        top, half = int(generator.integers(0, side // 2)), side // 2
        part = np.s_[top : top + half, :half] if row % 2 else np.s_[top : top + half, half:]
        pixels[part] = 200 if row % 2 else np.where(np.arange(half) % 2, 220, 0)
        mask[part] = 1 if row % 2 else 2
        images.append(PILImage.fromarray(np.repeat(pixels[..., None], 3, -1).astype(np.uint8)))
        masks.append(mask)
    return images, masks


def mask_rows(count: int = 12, *, unlabelled: int = 0, ignored: int = 0, side: int = 16, seed: int = 0) -> Dataset:
    """Masks as images; the last rows have none, and the first `ignored` lines of each are 255."""
    images, masks = scenes(count, side=side, seed=seed)
    for mask in masks:
        mask[:ignored] = 255
    stored = [PILImage.fromarray(mask) if row < count - unlabelled else None for row, mask in enumerate(masks)]
    return Dataset.from_dict({"image": images, "mask": stored}, features=Features({"image": Image(), "mask": Image()}))


def depth_rows(count: int = 12, *, unlabelled: int = 0, side: int = 16, seed: int = 0) -> Dataset:
    """Depths as arrays: the ground lies at 4 metres, what stands on it at 1 or 2; a corner is not known."""
    images, masks = scenes(count, side=side, seed=seed)
    depths = [np.array([4.0, 1.0, 2.0], np.float32)[mask] for mask in masks]
    for depth in depths:
        depth[0, 0], depth[0, 1] = 0.0, np.nan
    stored = [depth if row < count - unlabelled else None for row, depth in enumerate(depths)]
    features = Features({"image": Image(), "depth": Array2D((side, side), "float32")})
    return Dataset.from_dict({"image": images, "depth": stored}, features=features)


def processor(size: int = 16) -> ViTImageProcessorPil:
    return ViTImageProcessorPil(size={"height": size, "width": size})


def mask_student(classes: int = 3, seed: int = 0, **changes) -> SegformerForSemanticSegmentation:
    torch.manual_seed(seed)
    config = SegformerConfig(
        num_encoder_blocks=2, hidden_sizes=[8, 16], depths=[1, 1], sr_ratios=[1, 1], patch_sizes=[3, 3], strides=[2, 2],
        num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=classes, **changes,
    )  # fmt: skip
    return SegformerForSemanticSegmentation(config)


def _dpt(**changes) -> DPTConfig:
    return DPTConfig(
        image_size=16, patch_size=4, hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8,
        use_auxiliary_head=False, semantic_classifier_dropout=0.0, **changes,
    )  # fmt: skip


def depth_student(seed: int = 0) -> DPTForDepthEstimation:
    torch.manual_seed(seed)
    student = DPTForDepthEstimation(_dpt())
    nn.init.constant_(student.head.head[-2].bias, 1.0)  # its last layer is a ReLU, which must not start dead
    return student


def normless_mask_student(seed: int = 0) -> DPTForSemanticSegmentation:
    """Without batch norm or dropout: gradients of a batch are sums of gradients of its rows."""
    torch.manual_seed(seed)
    student = DPTForSemanticSegmentation(_dpt(num_labels=3))
    student.head.head[1] = nn.Identity()
    return student
