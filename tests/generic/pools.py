"""A tiny pool and a tiny teacher of every family."""

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_ctkd.generic import StudentPool
from hf_ctkd.types import LabelSpace

CLASSES = LabelSpace(("dark", "bright", "striped"))
TEXT_CLASSES = LabelSpace(("fruit", "plant"))
DEPTHS = ((1, 2), (1, 3), (1, 2))
WIDTHS = ((4, 8), (8, 12), (8, 16))
ENCODER = {"heads": (2, 3), "feed_forward": (8, 16), "head_width": 4}

POOLS = {
    "resnet": StudentPool("resnet", DEPTHS, widths=WIDTHS, input_size=32),
    "resnet bottleneck": StudentPool(
        "resnet", DEPTHS, widths=((8, 16), (16, 24), (16, 32)), input_size=32, settings={"layer_type": "bottleneck"}
    ),
    "convnext": StudentPool(
        "convnext", DEPTHS, widths=WIDTHS, input_size=16,
        settings={"patch_size": 2, "layer_scale_init_value": 0.5},
    ),
    "vit": StudentPool("vit", DEPTHS, **ENCODER, input_size=16, settings={"patch_size": 4}),
    "bert": StudentPool("bert", DEPTHS, **ENCODER, input_size=34, settings={"vocab_size": 14, "pad_token_id": 0}),
}  # fmt: skip


def rows_of(pool: StudentPool, count: int = 5) -> dict[str, torch.Tensor]:
    """Random rows for the students of a pool; texts of unequal length."""
    generator = torch.Generator().manual_seed(1)
    if pool.kind.modality == "image":
        return {"pixel_values": torch.randn(count, 3, pool.input_size, pool.input_size, generator=generator)}
    ids = torch.randint(4, 14, (count, 7), generator=generator)
    mask = (torch.arange(7) < 3 + torch.arange(count)[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask}


def teacher(family: str, classes: LabelSpace = CLASSES):
    """A teacher with the three stages of the pools, wider than their students."""
    torch.manual_seed(0)
    names = {"num_labels": len(classes)}
    encoder = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 16}
    stages = {"hidden_sizes": [8, 12, 20], "depths": [1, 1, 1]}
    made = {
        "resnet": lambda: ResNetForImageClassification(
            ResNetConfig(embedding_size=8, layer_type="basic", **stages, **names)
        ),
        "convnext": lambda: ConvNextForImageClassification(
            ConvNextConfig(patch_size=2, num_stages=3, **stages, **names)
        ),
        "vit": lambda: ViTForImageClassification(ViTConfig(image_size=16, patch_size=4, **encoder, **names)),
        "bert": lambda: BertForSequenceClassification(
            BertConfig(vocab_size=14, max_position_embeddings=34, **encoder, **names)
        ),
    }
    return made[family]()
