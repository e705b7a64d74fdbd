"""Architecture families of a pool: how each builds a configuration and where its models keep their stages."""

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
"""Ratio of a bottleneck stage's width to that of the stem before it, in `transformers`."""


@dataclass(frozen=True)
class Shape:
    """Depths and widths of a student.

    Args:
        depths: number of layers of each stage.
        widths: channels of each stage; empty for encoders.
        heads: number of attention heads; an encoder is `heads * head_width` wide. 0 for convolutional networks.
        feed_forward: width of an encoder's feed-forward layers; 0 for convolutional networks.
        head_width: width of an attention head; 0 for convolutional networks.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = ()
    heads: int = 0
    feed_forward: int = 0
    head_width: int = 0

    def entry_width(self, boundary: int) -> int:
        """Width of the hidden states that enter the stage after a boundary; boundary 0 follows the stem."""
        if not self.widths:
            return self.heads * self.head_width
        return self.widths[max(boundary - 1, 0)]


class Family(ABC):
    """One architecture of `transformers` classifiers whose depths and widths can vary.

    A smaller member uses the leading entries of every weight of the largest member: its first channels, its first heads
    and the first layers of each stage. A family therefore defines only which layer of the largest member corresponds to
    a layer of a smaller one, and how to run a model from the middle.
    """

    name: ClassVar[str]
    modality: ClassVar[Modality]
    model_class: ClassVar[type[PreTrainedModel]]
    maps: ClassVar[bool]
    """Whether its hidden states are maps `[batch, channels, height, width]`; sequences otherwise."""
    fixed_size: ClassVar[bool] = False
    """Whether its images must have the pool's `input_size`."""
    stem: ClassVar[str] = "embeddings"
    """Name of the module before the first stage, in the base model."""
    chosen: ClassVar[tuple[str, ...]]
    """Fields of `StudentPool` that the family requires besides `depths`."""

    @abstractmethod
    def config(self, shape: Shape, *, input_size: int, settings: Mapping[str, Any]) -> PreTrainedConfig:
        """The configuration of a member, without its classes.

        Args:
            shape: depths and widths of the member.
            input_size: height and width of images in pixels, or the maximum length of texts in tokens.
            settings: further fields of the configuration, the same for all members.
        """

    @abstractmethod
    def stages(self, model: nn.Module) -> nn.ModuleList:
        """The modules of the encoder in order: one per stage, or one per layer."""

    def front(self, model: PreTrainedModel, depths: Sequence[int]) -> list[nn.Module]:
        """The modules before the first boundary, which no branch runs: the stem and the first stage.

        Args:
            model: a member.
            depths: number of layers of each stage of the member.
        """
        return [
            model.get_submodule(f"{model.base_model_prefix}.{self.stem}"),
            *self.stages(model)[: self.first_stage_modules(depths)],
        ]

    @abstractmethod
    def first_stage_modules(self, depths: Sequence[int]) -> int:
        """Number of entries of `stages` that make up the first stage.

        Args:
            depths: number of layers of each stage of a member.
        """

    @abstractmethod
    def head(self, model: nn.Module, hidden: Tensor) -> Float[Tensor, "batch classes"]:
        """Logits from the output of the last stage."""

    @abstractmethod
    def tail(
        self, model: nn.Module, entry: Hidden, boundary: int, depths: Sequence[int]
    ) -> Float[Tensor, "batch classes"]:
        """Logits of the stages after a boundary and the head.

        Args:
            model: a member.
            entry: hidden states that enter the first of these stages.
            boundary: number of stages that are skipped.
            depths: number of layers of each stage of the member.
        """

    def source(self, name: str, depths: Sequence[int], largest: Sequence[int]) -> str:
        """Name in the largest member of the weight that a smaller member takes its own from."""
        return name


class _Staged(Family):
    """Convolutional networks; each stage is one module."""

    maps = True
    modality: ClassVar[Modality] = "image"
    chosen: ClassVar[tuple[str, ...]] = ("widths",)

    def first_stage_modules(self, depths: Sequence[int]) -> int:
        """See `Family.first_stage_modules`."""
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
    """ResNets with basic or bottleneck layers; the stem is as wide as the first stage requires for its shortcut."""

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
    """Transformer encoders; a stage is a run of consecutive layers."""

    maps = False
    chosen: ClassVar[tuple[str, ...]] = ("heads", "feed_forward", "head_width")
    prefix: ClassVar[str]
    """Prefix of the names of its layers' weights, up to the index of the layer."""

    def first_stage_modules(self, depths: Sequence[int]) -> int:
        """See `Family.first_stage_modules`."""
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
        """See `Family.source`: a stage of a smaller member consists of the first layers of the largest one's."""
        if not name.startswith(self.prefix):
            return name
        layer, _, rest = name.removeprefix(self.prefix).partition(".")
        stage, index_in_stage = 0, int(layer)
        while index_in_stage >= depths[stage]:
            index_in_stage -= depths[stage]
            stage += 1
        return f"{self.prefix}{sum(largest[:stage]) + index_in_stage}.{rest}"


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
    """BERT classifiers of texts."""

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
    """An attention mask to add to attention scores: 0 at tokens, the lowest finite number at padding."""
    if mask is None:
        return None
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)[
        :, None, None, :
    ]
