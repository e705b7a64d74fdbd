"""One distance a pixel."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import EvalPrediction

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.tasks.base import TaskArguments
from hf_ctkd.tasks.dense import DenseTask, resized
from hf_ctkd.tasks.pixel_metrics import DepthMetrics
from hf_ctkd.types import LabelSpace


class DepthEstimation(DenseTask):
    """A student that tells how far away every pixel is (`AutoModelForDepthEstimation`).

    Labels are depths, in metres and taken as they are: divide what is stored in other units. Pixels of 0, less, or no
    finite number have none. The task loss is the mean absolute error over labelled pixels, so that a student that gives
    depth up to an unknown scale has to learn the scale too.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("abs_rel", "rmse")
    columns: ClassVar[tuple[str, ...]] = ("depth", "depth_map", "label", "labels", "target")
    nothing: ClassVar[float] = 0.0
    dtype: ClassVar[torch.dtype] = torch.float32
    hub_tag: ClassVar[str] = "depth-estimation"
    auto_class: ClassVar[str] = "AutoModelForDepthEstimation"

    def __init__(self) -> None:
        super().__init__(LabelSpace(("depth",)))

    def read(self, values: np.ndarray, place: str) -> np.ndarray:
        """Depths, 0 for pixels without one."""
        if values.dtype.kind not in "iuf":
            raise DatasetError(f"{place} must hold depths in metres, got {values.dtype}.")
        depths = values.astype(np.float32)
        return np.where(np.isfinite(depths) & (depths > 0), depths, np.float32(self.nothing))

    def check_arguments(self, args: TaskArguments) -> None:
        """Refuse label smoothing, which is for classes."""
        if args.label_smoothing_factor:
            raise InvalidArgumentError(
                f"`label_smoothing_factor` must be 0 for {self.hub_tag}, got {args.label_smoothing_factor}."
            )

    def count(self, labels: Float[Tensor, "batch height width"]) -> Int[Tensor, ""]:
        """Number of labelled pixels."""
        return (labels > 0).sum()

    def loss_sum(
        self,
        prediction: Float[Tensor, "batch rows columns"],
        labels: Float[Tensor, "batch height width"],
        *,
        label_smoothing: float = 0.0,
    ) -> Tensor:
        """Absolute error in metres, depths resized to the labels."""
        error = resized(prediction.unsqueeze(1), labels).squeeze(1) - labels
        return torch.where(labels > 0, error.abs(), 0.0).sum()

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
