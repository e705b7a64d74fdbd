"""The families that a pool can be made of: from a shape to a configuration, and where a model keeps its stages."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    PreTrainedConfig,
    PreTrainedModel,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)

from hf_ctkd.data import Modality
from hf_ctkd.types import Hidden

_BOTTLENECK = 4
"""How much wider a bottleneck stage is than the stem before it and the convolutions within, in `transformers`."""


@dataclass(frozen=True)
class Shape:
    """What a path comes to: how deep and how wide a student is.

    Args:
        depths: layers of each stage.
        widths: channels of each stage; empty for encoders.
        heads: attention heads, each `head_width` wide, so that they set the width of an encoder; 0 for others.
        feed_forward: width of an encoder's feed-forward layers; 0 for others.
        head_width: of an encoder.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = ()
    heads: int = 0
    feed_forward: int = 0
    head_width: int = 0

    def entry_width(self, boundary: int) -> int:
        """Width of what the stage behind a boundary reads; boundary 0 lies between the stem and the first stage."""
        if not self.widths:
            return self.heads * self.head_width
        return self.widths[max(boundary - 1, 0)]


class Family(ABC):
    """One kind of plain `transformers` classifier that can be made deeper and wider.

    A smaller member uses the leading entries of every weight of the largest one: its first channels, its first heads
    and the first layers of each stage. So a family says only which layer of the largest member a layer is, and how to
    go on from the middle.
    """

    name: ClassVar[str]
    modality: ClassVar[Modality]
    model_class: ClassVar[type[PreTrainedModel]]
    maps: ClassVar[bool]
    """Whether its hidden states are maps `[batch, width, height, width]`; sequences otherwise."""
    fixed_size: ClassVar[bool] = False
    """Whether its images must have the pool's `input_size`."""
    stem: ClassVar[str] = "embeddings"
    """Name of what lies before the first stage, in the base model."""
    chosen: ClassVar[tuple[str, ...]]
    """Fields of `StudentPool` that it needs besides `depths`."""

    @abstractmethod
    def config(self, shape: Shape, *, input_size: int, settings: Mapping[str, Any]) -> PreTrainedConfig:
        """The configuration of a member, without its classes.

        Args:
            shape: the member.
            input_size: height and width of its images, or the most tokens of its texts.
            settings: further fields, the same for all members.
        """

    @abstractmethod
    def stages(self, model: nn.Module) -> nn.ModuleList:
        """What `depths` counts: a list of stages, or of the layers of all stages."""

    def front(self, model: PreTrainedModel, depths: Sequence[int]) -> list[nn.Module]:
        """What lies before the first boundary, so that no tail has a part of it: the stem and the first stage.

        Args:
            model: a member.
            depths: of the member.
        """
        return [
            model.get_submodule(f"{model.base_model_prefix}.{self.stem}"),
            *self.stages(model)[: self.first(depths)],
        ]

    @abstractmethod
    def first(self, depths: Sequence[int]) -> int:
        """How many entries of `stages` the first stage has.

        Args:
            depths: of a member.
        """

    @abstractmethod
    def head(self, model: nn.Module, hidden: Tensor) -> Float[Tensor, "batch classes"]:
        """From the last stage to logits."""

    @abstractmethod
    def tail(
        self, model: nn.Module, entry: Hidden, boundary: int, depths: Sequence[int]
    ) -> Float[Tensor, "batch classes"]:
        """The stages behind a boundary, and the head.

        Args:
            model: a member.
            entry: what the first of these stages reads.
            boundary: stages that are left out.
            depths: of the member.
        """

    def source(self, name: str, depths: Sequence[int], largest: Sequence[int]) -> str:
        """Name in the largest member of a weight of a smaller one."""
        return name


class _Staged(Family):
    """Convolutional networks, whose stages are modules of their own."""

    maps = True
    modality: ClassVar[Modality] = "image"
    chosen: ClassVar[tuple[str, ...]] = ("widths",)

    def first(self, depths: Sequence[int]) -> int:
        """See `Family.first`."""
        return 1

    def tail(
        self, model: nn.Module, entry: Hidden, boundary: int, depths: Sequence[int]
    ) -> Float[Tensor, "batch classes"]:
        """See `Family.tail`."""
        hidden = entry.values.transpose(1, 2).unflatten(2, entry.grid)
        for stage in self.stages(model)[boundary:]:
            hidden = stage(hidden)
        return self.head(model, hidden)


class ResNet(_Staged):
    """ResNets with basic or bottleneck layers; the stem follows the first stage, so that shortcuts agree."""

    name: ClassVar[str] = "resnet"
    stem: ClassVar[str] = "embedder"
    model_class: ClassVar[type[PreTrainedModel]] = ResNetForImageClassification

    def config(self, shape: Shape, *, input_size: int, settings: Mapping[str, Any]) -> PreTrainedConfig:
        """See `Family.config`."""
        settings = {"layer_type": "basic", **settings}
        narrower = _BOTTLENECK if settings["layer_type"] == "bottleneck" else 1
        return ResNetConfig(
            hidden_sizes=list(shape.widths),
            depths=list(shape.depths),
            embedding_size=shape.widths[0] // narrower,
            **settings,
        )

    def stages(self, model: nn.Module) -> nn.ModuleList:
        """See `Family.stages`."""
        return model.resnet.encoder.stages  # type: ignore[union-attr,return-value]

    def head(self, model: nn.Module, hidden: Tensor) -> Float[Tensor, "batch classes"]:
        """See `Family.head`."""
        return model.classifier(model.resnet.pooler(hidden))  # type: ignore[operator,union-attr]


class ConvNext(_Staged):
    """ConvNeXTs."""

    name: ClassVar[str] = "convnext"
    model_class: ClassVar[type[PreTrainedModel]] = ConvNextForImageClassification

    def config(self, shape: Shape, *, input_size: int, settings: Mapping[str, Any]) -> PreTrainedConfig:
        """See `Family.config`."""
        return ConvNextConfig(
            hidden_sizes=list(shape.widths),
            depths=list(shape.depths),
            num_stages=len(shape.depths),
            image_size=input_size,
            **settings,
        )

    def stages(self, model: nn.Module) -> nn.ModuleList:
        """See `Family.stages`."""
        return model.convnext.encoder.stages  # type: ignore[union-attr,return-value]

    def head(self, model: nn.Module, hidden: Tensor) -> Float[Tensor, "batch classes"]:
        """See `Family.head`."""
        return model.classifier(model.convnext.layernorm(hidden.mean([-2, -1])))  # type: ignore[operator,union-attr]


class _Encoder(Family):
    """Transformer encoders, whose layers follow each other; a stage is a run of them."""

    maps = False
    chosen: ClassVar[tuple[str, ...]] = ("heads", "feed_forward", "head_width")
    prefix: ClassVar[str]
    """Of the names of its layers' weights, up to the number of the layer."""

    def first(self, depths: Sequence[int]) -> int:
        """See `Family.first`."""
        return depths[0]

    def tail(
        self, model: nn.Module, entry: Hidden, boundary: int, depths: Sequence[int]
    ) -> Float[Tensor, "batch classes"]:
        """See `Family.tail`."""
        hidden, mask = entry.values, additive_mask(entry.mask, entry.values.dtype)
        for layer in self.stages(model)[sum(depths[:boundary]) :]:
            hidden = layer(hidden, mask)
        return self.head(model, hidden)

    def source(self, name: str, depths: Sequence[int], largest: Sequence[int]) -> str:
        """See `Family.source`: a stage of a smaller member has the first layers of that stage of the largest."""
        if not name.startswith(self.prefix):
            return name
        number, _, rest = name.removeprefix(self.prefix).partition(".")
        stage, place = 0, int(number)
        while place >= depths[stage]:
            place -= depths[stage]
            stage += 1
        return f"{self.prefix}{sum(largest[:stage]) + place}.{rest}"


class ViT(_Encoder):
    """Vision transformers."""

    name: ClassVar[str] = "vit"
    modality: ClassVar[Modality] = "image"
    model_class: ClassVar[type[PreTrainedModel]] = ViTForImageClassification
    fixed_size: ClassVar[bool] = True
    prefix: ClassVar[str] = "vit.layers."

    def config(self, shape: Shape, *, input_size: int, settings: Mapping[str, Any]) -> PreTrainedConfig:
        """See `Family.config`."""
        return ViTConfig(**_sizes(shape), image_size=input_size, **settings)

    def stages(self, model: nn.Module) -> nn.ModuleList:
        """See `Family.stages`."""
        return model.vit.layers  # type: ignore[union-attr,return-value]

    def head(self, model: nn.Module, hidden: Tensor) -> Float[Tensor, "batch classes"]:
        """See `Family.head`."""
        return model.classifier(model.vit.layernorm(hidden)[:, 0])  # type: ignore[operator,union-attr]


class Bert(_Encoder):
    """BERTs for classification of texts."""

    name: ClassVar[str] = "bert"
    modality: ClassVar[Modality] = "text"
    model_class: ClassVar[type[PreTrainedModel]] = BertForSequenceClassification
    prefix: ClassVar[str] = "bert.encoder.layer."

    def config(self, shape: Shape, *, input_size: int, settings: Mapping[str, Any]) -> PreTrainedConfig:
        """See `Family.config`."""
        return BertConfig(**_sizes(shape), **{"max_position_embeddings": input_size, **settings})

    def stages(self, model: nn.Module) -> nn.ModuleList:
        """See `Family.stages`."""
        return model.bert.encoder.layer  # type: ignore[union-attr,return-value]

    def head(self, model: nn.Module, hidden: Tensor) -> Float[Tensor, "batch classes"]:
        """See `Family.head`."""
        return model.classifier(model.dropout(model.bert.pooler(hidden)))  # type: ignore[operator,union-attr]


FAMILIES: dict[str, Family] = {family.name: family for family in (ResNet(), ConvNext(), ViT(), Bert())}
"""Families by name."""


def _sizes(shape: Shape) -> dict[str, Any]:
    return {
        "hidden_size": shape.heads * shape.head_width,
        "num_hidden_layers": sum(shape.depths),
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.feed_forward,
    }


def additive_mask(mask: Bool[Tensor, "batch positions"] | None, dtype: torch.dtype) -> Tensor | None:
    """A mask that is added to the scores of attention, next to nothing at padding."""
    if mask is None:
        return None
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)[
        :, None, None, :
    ]
