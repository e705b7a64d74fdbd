"""One class a row: images and texts alike."""

from collections.abc import Callable, Sequence
from typing import ClassVar

import datasets
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image as PILImage
from torch import Tensor
from transformers import EvalPrediction, PreTrainedModel

from hf_ctkd.data import Modality, Preprocessor, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import DistillationLoss, RowTransportLoss
from hf_ctkd.tasks.base import Augmentation, Label, StudentTask, TaskArguments
from hf_ctkd.tasks.evaluation import ClassificationMetrics
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

_TAGS: dict[Modality, str] = {"image": "image-classification", "text": "text-classification"}


class Classification(StudentTask):
    """A student that puts every row into one class."""

    metric_names: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1")

    def tag(self, modality: Modality) -> str:
        """See `StudentTask.tag`."""
        return _TAGS[modality]

    def rows(
        self,
        dataset: datasets.Dataset,
        args: TaskArguments,
        *,
        like: TargetRows | None = None,
        evaluation: bool = False,
    ) -> TargetRows:
        """Rows with a column of class ids; see `StudentTask.rows`."""
        return TargetRows.of(
            dataset,
            input_column=args.input_column if like is None else like.input_column,
            label_column=args.label_column if like is None else like.label_column,
            skip_bad_rows=args.skip_bad_rows,
            evaluation=evaluation,
        )

    def rows_to_predict(self, dataset: datasets.Dataset, like: TargetRows) -> TargetRows:
        """Rows with or without class ids; see `StudentTask.rows_to_predict`."""
        return TargetRows.to_predict(dataset, like)

    def default_loss(self) -> DistillationLoss:
        """Transport of rows onto classes: what does best over the cells of the evidence suite."""
        return RowTransportLoss()

    def check_loss(self, loss: DistillationLoss, rows: TargetRows | None) -> None:
        """A loss that fits needs two rows of every class; see `StudentTask.check_loss`."""
        if Needs.FIT in loss.needs and rows is not None:
            rows.require_two_rows_a_class()

    def check_student(self, student: PreTrainedModel, outputs: ModelOutputs, rows: TargetRows) -> None:
        """The same classes in the same order; a student that names none is given the data's names."""
        logits = self.prediction(outputs)
        wanted = rows.label_space
        if logits.shape[1] != len(wanted):
            raise InvalidArgumentError(
                f"`model` must have {len(wanted)} classes as the data set has, got {logits.shape[1]}. "
                f"Load it with `num_labels={len(wanted)}, ignore_mismatched_sizes=True`."
            )
        config = student.config
        named = LabelSpace.from_id2label(config.id2label)
        if named.informative and wanted.informative and named != wanted:
            raise InvalidArgumentError(
                f"`model` calls its classes {listed(named)}, the data set {listed(wanted)}. "
                "Set `id2label` and `label2id` of the model to the data set's names, in its order."
            )
        if not named.informative:
            config.id2label = dict(enumerate(wanted.names))
            config.label2id = {name: index for index, name in enumerate(wanted.names)}

    def check_arguments(self, args: TaskArguments) -> None:
        """Every argument has its use."""

    def label(self, rows: TargetRows, number: int, content: PILImage.Image | str | None = None) -> Label:
        """A class id, -100 without one."""
        return int(rows.labels[number])

    def augment(
        self, augmentation: Augmentation, content: PILImage.Image | str, label: Label
    ) -> tuple[PILImage.Image | str, Label]:
        """The class stays what it was."""
        return augmentation(content), label

    def collate(self, labels: Sequence[Label], view: Preprocessor, inputs: dict[str, Tensor]) -> Tensor:
        """Class ids `[batch]`."""
        return torch.tensor(labels)

    def count(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, ""]:
        """Number of labelled rows."""
        return (labels != UNLABELLED).sum()

    def labelled(self, labels: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Those with a class."""
        return labels != UNLABELLED

    def row_labels(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """The labels as they are."""
        return labels

    def prediction(self, outputs: ModelOutputs) -> Tensor:
        """Logits `[batch, classes]`."""
        if outputs.logits is None:
            raise InvalidArgumentError(
                "`model` must return logits, but it has no classification head. Load it with an AutoModelFor... class."
            )
        return outputs.logits

    def loss_sum(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(
            prediction.float(), labels, reduction="sum", label_smoothing=label_smoothing, ignore_index=UNLABELLED
        )

    def row_losses(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, "batch 2"]:
        """Cross-entropy of every row, all in one call, beside whether it has a label."""
        losses = F.cross_entropy(
            prediction.float(), labels, reduction="none", label_smoothing=label_smoothing, ignore_index=UNLABELLED
        )
        return torch.stack([losses, (labels != UNLABELLED).to(losses.dtype)], dim=1)

    def evaluated(self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."]) -> Tensor:
        """The logits."""
        return prediction.float()

    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """Accuracy and macro F1, or any other of `evaluate`."""
        return ClassificationMetrics(
            args.metrics or self.metric_names, resamples=args.bootstrap_resamples, seed=args.seed
        )

    def label_names(self, rows: TargetRows) -> tuple[str, ...]:
        """The classes of the data set."""
        return rows.label_space.names

    def rows_with_label(self, rows: TargetRows) -> list[int]:
        """Those with a class."""
        return rows.labelled.tolist()

    def fingerprint(self, rows: TargetRows) -> str:
        """Of inputs and class ids."""
        return rows.fingerprint


def listed(space: LabelSpace) -> str:
    """How many classes, and the names of the first few."""
    shown = ", ".join(space.names[:6])
    return f"{len(space)} ({shown}{', ...' if len(space) > 6 else ''})"
