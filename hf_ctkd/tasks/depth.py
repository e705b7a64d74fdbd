"""One distance a pixel."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import AutoModelForDepthEstimation, EvalPrediction

from hf_ctkd.data import Modality, TargetRows
from hf_ctkd.errors import DatasetError
from hf_ctkd.records import TaskWords
from hf_ctkd.tasks.base import TaskArguments
from hf_ctkd.tasks.dense import DenseTask, resized
from hf_ctkd.tasks.examples import example_code, example_packages
from hf_ctkd.tasks.pixel_metrics import DepthMetrics
from hf_ctkd.types import LabelSpace

_WORDS = TaskWords(
    "estimates how far away every pixel of an image is, in metres",
    "Its depths are metres as its training rows had them: with other cameras and scenes they may be wrong by a factor. "
    "It was measured on the pixels that its own processor makes of an image, which may be fewer.",
    example_code(
        "image",
        "AutoModelForDepthEstimation",
        "# On the pixels that the processor made of the picture, which may be fewer.\n"
        "metres = outputs.predicted_depth[0]\nprint(metres.shape, float(metres.min()), float(metres.max()))",
    ),
    packages=example_packages("image"),
    rows="images",
    one_class_a_row=False,
)


class DepthEstimation(DenseTask):
    """A student that tells how far away every pixel is (`AutoModelForDepthEstimation`).

    Labels are depths, in metres and taken as they are: divide what is stored in other units. Pixels of 0, less, or no
    finite number have none. The task loss is the mean absolute error over labelled pixels, so that a student that gives
    depth up to an unknown scale has to learn the scale too.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("abs_rel", "rmse")
    label_columns: ClassVar[tuple[str, ...]] = ("depth", "depth_map", "label", "labels", "target")
    nothing: ClassVar[float] = 0.0
    dtype: ClassVar[torch.dtype] = torch.float32
    hub_tags: ClassVar[Mapping[Modality, str]] = {"image": "depth-estimation"}
    auto_classes: ClassVar[Mapping[Modality, Any]] = {"image": AutoModelForDepthEstimation}

    def __init__(self) -> None:
        super().__init__(LabelSpace(("depth",)))

    def read_pixels(self, values: np.ndarray, where: str) -> np.ndarray:
        """Depths, 0 for pixels without one."""
        if values.dtype.kind not in "iuf":
            raise DatasetError(f"{where} must hold depths in metres, got {values.dtype}.")
        depths = values.astype(np.float32)
        return np.where(np.isfinite(depths) & (depths > 0), depths, np.float32(self.nothing))

    def row_losses(
        self,
        prediction: Float[Tensor, "batch rows columns"],
        labels: Float[Tensor, "batch height width"],
        *,
        label_smoothing: float = 0.0,
    ) -> Float[Tensor, " batch"]:
        """Absolute error in metres, depths resized to the labels."""
        error = resized(prediction.unsqueeze(1), labels).squeeze(1) - labels
        return torch.where(labels > 0, error.abs(), 0.0).flatten(1).sum(dim=1)

    def evaluated(
        self, prediction: Float[Tensor, "batch rows columns"], labels: Float[Tensor, "batch height width"]
    ) -> Float[Tensor, "batch height width"]:
        """The depth of every pixel."""
        return resized(prediction.unsqueeze(1), labels).squeeze(1)

    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """Relative error and root mean square error."""
        return DepthMetrics(args.metrics or self.metric_names, resamples=args.bootstrap_resamples, seed=args.seed)

    def label_names(self, rows: TargetRows) -> tuple[str, ...]:
        """There are no classes."""
        return ()

    def words(self, modality: Modality) -> TaskWords:
        """Distances in metres."""
        return _WORDS
