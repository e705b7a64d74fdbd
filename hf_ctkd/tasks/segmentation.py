"""One class a pixel."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from transformers import AutoModelForSemanticSegmentation, EvalPrediction

from hf_ctkd.data import Modality
from hf_ctkd.errors import DatasetError
from hf_ctkd.records import TaskWords
from hf_ctkd.tasks.base import TaskArguments
from hf_ctkd.tasks.dense import DenseTask, resized
from hf_ctkd.tasks.examples import example_code, example_packages
from hf_ctkd.tasks.pixel_metrics import SegmentationMetrics
from hf_ctkd.types import UNLABELLED, LabelSpace

_WORDS = TaskWords(
    "puts every pixel of an image into one of {classes}",
    "It knows {count} classes and puts every pixel into one, also what belongs to none. It was measured on the pixels "
    "that its own processor makes of an image, which may be fewer.",
    example_code(
        "image",
        "AutoModelForSemanticSegmentation",
        "# On the pixels that the processor made of the picture, which may be fewer.\n"
        "classes = outputs.logits.argmax(1)[0]\n"
        "print({model.config.id2label[int(number)]: int((classes == number).sum()) for number in classes.unique()})",
    ),
    packages=example_packages("image"),
    rows="images",
    one_class_a_row=False,
)


class SemanticSegmentation(DenseTask):
    """A student that puts every pixel into one class (`AutoModelForSemanticSegmentation`).

    Labels are masks of class ids; pixels of `ignored` or -100 have none. The task loss is the mean cross-entropy over
    labelled pixels. An evaluation keeps the class of every pixel, not its scores.

    Args:
        label_space: the classes, as the student's configuration names them.
        ignored: class id of pixels without a label, as the student's configuration has it.
        reduced: whether class ids count from 1 and 0 is no class, as the processor's `do_reduce_labels` has it.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("mean_iou", "pixel_accuracy")
    label_columns: ClassVar[tuple[str, ...]] = (
        "mask",
        "label",
        "labels",
        "annotation",
        "segmentation_mask",
        "semantic_segmentation",
    )
    nothing: ClassVar[float] = UNLABELLED
    dtype: ClassVar[torch.dtype] = torch.long
    hub_tags: ClassVar[Mapping[Modality, str]] = {"image": "image-segmentation"}
    auto_classes: ClassVar[Mapping[Modality, Any]] = {"image": AutoModelForSemanticSegmentation}
    smooths_labels: ClassVar[bool] = True

    def __init__(self, label_space: LabelSpace, *, ignored: int = 255, reduced: bool = False) -> None:
        super().__init__(label_space)
        self.ignored = ignored
        self.reduced = reduced

    def read_pixels(self, values: np.ndarray, where: str) -> np.ndarray:
        """Class ids, -100 for pixels without one."""
        if values.dtype.kind not in "iub":
            raise DatasetError(f"{where} must hold integer class ids, got {values.dtype}.")
        ids = values.astype(np.int64)
        first = 1 if self.reduced else 0
        empty = (
            (ids == self.ignored) | (ids == UNLABELLED) | (ids < first if self.reduced else np.zeros_like(ids, bool))
        )
        wrong = ids[((ids < first) | (ids >= first + len(self.label_space))) & ~empty]
        if len(wrong):
            raise DatasetError(
                f"{where} must hold class ids in [{first}, {first + len(self.label_space)}), or {self.ignored} or -100 "
                f"for none, got {int(wrong[0])}."
            )
        return np.where(empty, UNLABELLED, ids - first)

    def row_losses(
        self,
        prediction: Float[Tensor, "batch classes rows columns"],
        labels: Int[Tensor, "batch height width"],
        *,
        label_smoothing: float = 0.0,
    ) -> Float[Tensor, " batch"]:
        """Cross-entropy, scores resized to the labels."""
        scores = resized(prediction, labels)
        losses = F.cross_entropy(
            scores, labels, reduction="none", label_smoothing=label_smoothing, ignore_index=UNLABELLED
        )
        return losses.flatten(1).sum(dim=1)

    def evaluated(
        self, prediction: Float[Tensor, "batch classes rows columns"], labels: Int[Tensor, "batch height width"]
    ) -> Int[Tensor, "batch height width"]:
        """The class of every pixel."""
        return resized(prediction, labels).argmax(1)

    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """Mean intersection over union and pixel accuracy."""
        return SegmentationMetrics(
            args.metrics or self.metric_names,
            classes=len(self.label_space),
            resamples=args.bootstrap_resamples,
            seed=args.seed,
        )

    def words(self, modality: Modality) -> TaskWords:
        """Pixels into one of several classes."""
        return _WORDS
