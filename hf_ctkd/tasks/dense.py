"""What students share that say something of every pixel: where their labels are, and how they meet the images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import datasets
import numpy as np
import torch
import torch.nn.functional as F
from datasets import Features
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image as PILImage
from torch import Tensor
from transformers import PreTrainedModel

from hf_ctkd.data import Preprocessor, RowInput, TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, InvertedProjectionLoss
from hf_ctkd.tasks.base import Augmentation, Label, StudentTask
from hf_ctkd.tasks.pixels import onto_view, source_pixels
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs

_FIRST_ROWS = 4


class DenseTask(StudentTask, ABC):
    """A student with a label for every pixel: an image, or a two-dimensional array, of the size of its own image.

    A row whose label is None is unlabelled and still distilled. Labels take the way of the image through the student's
    own processor (nearest neighbours where it resizes, nothing where it pads); losses and metrics are measured on the
    pixels of that view. An augmentation is called with the image and its label, an array `[height, width]` or None, and
    gives both back.

    Args:
        label_space: what the labels tell apart.
    """

    loss_labels = "none"
    nothing: ClassVar[float]
    """The label of a pixel without one."""
    dtype: ClassVar[torch.dtype]
    """Of labels in a batch."""

    def __init__(self, label_space: LabelSpace) -> None:
        self.label_space = label_space

    @abstractmethod
    def read_pixels(self, values: np.ndarray, where: str) -> np.ndarray:
        """A label `[height, width]` as it is trained on, pixels without one marked with `nothing`.

        Args:
            values: as the data set has them.
            where: row and column, for messages.

        Raises:
            DatasetError: a value that cannot be.
        """

    def label_space_of(self, dataset: datasets.Dataset, column: str) -> LabelSpace:
        """What the student tells apart."""
        return self.label_space

    def find_label(self, features: Features, named: str | None) -> str:
        """The label column, which must not be the column of images; see `StudentTask.find_label`."""
        usual = [name for name in self.label_columns if name in features]
        if named is None and not usual and features:
            raise DatasetError(
                f"Found no label column among {sorted(features)}. Name it with `label_column`; it must hold an image "
                "or an array over the pixels of each image."
            )
        return super().find_label(features, named)

    def default_loss(self) -> DistillationLoss:
        """The inverted projection of the last layers: it needs no classes of the teacher."""
        return InvertedProjectionLoss(layers=((-1, -1),))

    def check_student(self, student: PreTrainedModel, outputs: ModelOutputs, rows: TargetRows) -> None:
        """A dense head, images as inputs, and labels of the first rows that can be read."""
        self.prediction(outputs)
        self.auto_class(rows.modality)
        for number in range(min(_FIRST_ROWS, len(rows))):
            self.label(rows, number, rows.inputs([number])[0])

    def read(self, value: Any, rows: TargetRows, where: str) -> np.ndarray | None:  # noqa: ANN401 (as data sets have it)
        """An array over the pixels, None without a label."""
        if value is None:
            return None
        try:
            values = np.asarray(value)
        except ValueError as error:
            raise DatasetError(f"{where} must hold rows of equal length, as an image does.") from error
        if values.ndim != 2:
            raise DatasetError(
                f"{where} must hold one value a pixel, [height, width], got an array of shape {values.shape}. "
                "Turn colours into class ids, or take one channel."
            )
        return self.read_pixels(values, where)

    def label(self, rows: TargetRows, number: int, content: RowInput | None = None) -> Label:
        """An array over the pixels of the image, None without a label."""
        where = f"Row {int(rows.origin[number])} of `{rows.label_column}`"
        label = self.read(rows.raw_label(number), rows, where)
        if label is None or not isinstance(content, PILImage.Image):
            return label
        if label.shape != (content.height, content.width):
            raise DatasetError(
                f"{where} must be of the size of its image, {content.width}x{content.height}, got "
                f"{label.shape[1]}x{label.shape[0]}. Resize one of them."
            )
        return label

    def augment(self, augmentation: Augmentation, content: RowInput, label: Label) -> tuple[RowInput, Label]:
        """Image and label change together."""
        changed = augmentation(content, label)
        if not isinstance(changed, tuple) or len(changed) != 2:
            raise InvalidArgumentError(
                "`augmentation` of a dense student must give image and label back, as it is called with both. "
                "Write a function of (image, label)."
            )
        image, values = changed
        if values is not None and values.shape != (image.height, image.width):
            raise InvalidArgumentError(
                f"`augmentation` must give a label of the size of its image, {image.width}x{image.height}, got "
                f"{values.shape[1]}x{values.shape[0]}. Change both alike."
            )
        return image, values

    def collate(self, labels: Sequence[Label], view: Preprocessor, inputs: dict[str, Tensor]) -> Tensor:
        """Labels `[batch, height, width]` over the pixels of the student's view."""
        height, width = inputs[view_name(inputs)].shape[-2:]
        batch = torch.full((len(labels), height, width), self.nothing, dtype=self.dtype)
        for row, label in enumerate(labels):
            if isinstance(label, np.ndarray):
                batch[row] = onto_view(label, source_pixels(view, *label.shape), self.nothing)
        return batch

    def label_counts(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """Number of labelled pixels of each row."""
        return (labels != self.nothing).flatten(1).sum(dim=1)

    def labelled(self, labels: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Those with a label of any pixel."""
        return self.label_counts(labels) > 0

    def row_labels(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """No row has a class."""
        return torch.full((len(labels),), UNLABELLED, device=labels.device)

    def has_labels(self, rows: TargetRows) -> bool:
        """Whether any pixel of any row has a label."""
        labels = (self.label(rows, number) for number in range(len(rows)))
        return any(isinstance(label, np.ndarray) and bool((label != self.nothing).any()) for label in labels)

    def rows_with_label(self, rows: TargetRows) -> list[int]:
        """Those with a label image."""
        return [row for row, digest in enumerate(rows.label_digests) if digest is not None]

    def prediction(self, outputs: ModelOutputs) -> Tensor:
        """What the student predicts of its pixels; see `StudentTask.prediction`."""
        if outputs.dense is None:
            raise InvalidArgumentError(
                f"`model` predicts nothing of single pixels, but is to be trained for {self.hub_tags['image']}. Load "
                f"it with {self.auto_classes['image'].__name__}."
            )
        return outputs.dense

    def label_names(self, rows: TargetRows) -> tuple[str, ...]:
        """The classes of the student."""
        return self.label_space.names


def view_name(inputs: dict[str, Tensor]) -> str:
    """Which of a model's inputs holds the pixels."""
    return "pixel_values" if "pixel_values" in inputs else next(iter(inputs))


def resized(
    values: Float[Tensor, "batch channels height width"], labels: Shaped[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Predictions on the pixels of their labels, in 32 bits."""
    return F.interpolate(values.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
