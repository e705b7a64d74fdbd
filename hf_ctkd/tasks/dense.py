"""What students share that say something of every pixel: where their labels are, and how they meet the images."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import datasets
import numpy as np
import torch
import torch.nn.functional as F
import xxhash
from datasets import Features
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image as PILImage
from torch import Tensor
from transformers import PreTrainedModel

from hf_ctkd.data import Modality, Preprocessor, TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, InvertedProjectionLoss
from hf_ctkd.tasks.base import Augmentation, Label, StudentTask, TaskArguments
from hf_ctkd.tasks.pixels import onto_view, source_pixels
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

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

    columns: ClassVar[tuple[str, ...]]
    """Usual names of the label column."""
    nothing: ClassVar[float]
    """The label of a pixel without one."""
    dtype: ClassVar[torch.dtype]
    """Of labels in a batch."""
    hub_tag: ClassVar[str]
    auto_class: ClassVar[str]

    def __init__(self, label_space: LabelSpace) -> None:
        self.label_space = label_space

    @abstractmethod
    def read(self, values: np.ndarray, place: str) -> np.ndarray:
        """A label `[height, width]` as it is trained on, pixels without one marked with `nothing`.

        Args:
            values: as the data set has them.
            place: row and column, for messages.

        Raises:
            DatasetError: a value that cannot be.
        """

    def tag(self, modality: Modality) -> str:
        """See `StudentTask.tag`."""
        return self.hub_tag

    def rows(
        self,
        dataset: datasets.Dataset,
        args: TaskArguments,
        *,
        like: TargetRows | None = None,
        evaluation: bool = False,
    ) -> TargetRows:
        """Rows with a column of images and a column of labels over their pixels; see `StudentTask.rows`."""
        named = args.label_column if like is None else like.label_column
        features = dataset.features if isinstance(dataset, datasets.Dataset) else Features()
        return TargetRows.of_images(
            dataset,
            self.label_space,
            label_column=named or self._find_label(features),
            input_column=args.input_column if like is None else like.input_column,
            skip_bad_rows=args.skip_bad_rows,
        )

    def rows_to_predict(self, dataset: datasets.Dataset, like: TargetRows) -> TargetRows:
        """Images with or without labels over their pixels; see `StudentTask.rows_to_predict`."""
        return TargetRows.of_images(
            dataset, self.label_space, label_column=like.label_column, input_column=like.input_column, prediction=True
        )

    def _find_label(self, features: Features) -> str:
        usual = [name for name in self.columns if name in features]
        if not usual and features:
            raise DatasetError(
                f"Found no label column among {sorted(features)}. Name it with `label_column`; it must hold an image "
                "or an array over the pixels of each image."
            )
        return usual[0] if usual else ""

    def default_loss(self) -> DistillationLoss:
        """The inverted projection of the last layers: it needs no classes of the teacher."""
        return InvertedProjectionLoss(layers=((-1, -1),))

    def check_loss(self, loss: DistillationLoss, rows: TargetRows | None) -> None:
        """A loss that reads classes of rows cannot serve; see `StudentTask.check_loss`."""
        if loss.needs & (Needs.FIT | Needs.LOGITS | Needs.LABEL_NAMES):
            raise InvalidArgumentError(
                f"`loss` {type(loss).__name__} reads one class a row, but the student is for {self.hub_tag}. "
                "Use InvertedProjectionLoss(layers=...) or SpectralLoss(layer=...)."
            )

    def check_student(self, student: PreTrainedModel, outputs: ModelOutputs, rows: TargetRows) -> None:
        """A dense head, and labels of the first rows that can be read."""
        self.prediction(outputs)
        for number in range(min(_FIRST_ROWS, len(rows))):
            self.label(rows, number, rows.inputs([number])[0])

    def label(self, rows: TargetRows, number: int, content: PILImage.Image | str | None = None) -> Label:
        """An array over the pixels of the image, None without a label."""
        raw = rows.raw_label(number)
        if raw is None:
            return None
        place = f"Row {int(rows.origin[number])} of `{rows.label_column}`"
        try:
            values = np.asarray(raw)
        except ValueError as error:
            raise DatasetError(f"{place} must hold rows of equal length, as an image does.") from error
        if values.ndim != 2:
            raise DatasetError(
                f"{place} must hold one value a pixel, [height, width], got an array of shape {values.shape}. "
                "Turn colours into class ids, or take one channel."
            )
        if isinstance(content, PILImage.Image) and values.shape != (content.height, content.width):
            raise DatasetError(
                f"{place} must be of the size of its image, {content.width}x{content.height}, got "
                f"{values.shape[1]}x{values.shape[0]}. Resize one of them."
            )
        return self.read(values, place)

    def augment(
        self, augmentation: Augmentation, content: PILImage.Image | str, label: Label
    ) -> tuple[PILImage.Image | str, Label]:
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

    def labelled(self, labels: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Those with a label of any pixel."""
        return (labels != self.nothing).flatten(1).any(dim=1)

    def row_labels(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """No row has a class."""
        return torch.full((len(labels),), UNLABELLED, device=labels.device)

    def prediction(self, outputs: ModelOutputs) -> Tensor:
        """What the student says of its pixels; see `StudentTask.prediction`."""
        if outputs.dense is None:
            raise InvalidArgumentError(
                f"`model` says nothing of single pixels, but is to be trained for {self.hub_tag}. Load it with "
                f"{self.auto_class}."
            )
        return outputs.dense

    def label_names(self, rows: TargetRows) -> tuple[str, ...]:
        """The classes of the student."""
        return self.label_space.names

    def rows_with_label(self, rows: TargetRows) -> list[int]:
        """Those with a label image."""
        return [row for row, digest in enumerate(rows.label_digests) if digest is not None]

    def fingerprint(self, rows: TargetRows) -> str:
        """Of images and raw labels."""
        hasher = xxhash.xxh3_128()
        for image, label in zip(rows.digests, rows.label_digests, strict=True):
            hasher.update(f"{image}:{label};".encode())
        return hasher.hexdigest()


def view_name(inputs: dict[str, Tensor]) -> str:
    """Which of a model's inputs holds the pixels."""
    return "pixel_values" if "pixel_values" in inputs else next(iter(inputs))


def resized(
    values: Float[Tensor, "batch channels height width"], labels: Shaped[Tensor, "batch rows columns"]
) -> Float[Tensor, "batch channels rows columns"]:
    """Predictions on the pixels of their labels, in 32 bits."""
    return F.interpolate(values.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
