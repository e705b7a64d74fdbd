"""What a student is trained to predict: how its labels are read, what a wrong prediction costs, how it is judged."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, Protocol

import datasets
import numpy as np
import torch
import xxhash
from datasets import Features
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from transformers import (
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    EvalPrediction,
    PreTrainedModel,
)
from transformers.utils.logging import get_logger

from hf_ctkd.data import Modality, Preprocessor, RowInput, TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.records import Reliability, TaskWords
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs, Needs

logger = get_logger(__name__)

Augmentation = Callable[..., Any]
"""From a raw image, text or pair of texts to a changed one; for dense students from image and label to both. Applied
once a row."""

Label = int | np.ndarray | None
"""Of one row: a class id, -100 without one; a vector, NaN without one; or an array over pixels, None without one."""

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]
"""As in the configuration of a model."""


class TaskArguments(Protocol):
    """The arguments of a run that tasks read; `DistillationConfig` has them, as any object may."""

    input_column: list[str] | None
    label_column: str | None
    skip_bad_rows: bool
    label_smoothing_factor: float
    metrics: list[str]
    bootstrap_resamples: int
    seed: int


class StudentTask(ABC):
    """A kind of student, such as one that classifies rows or one that estimates the depth of every pixel.

    Subclass it to distill students for a task that this package does not have, and pass the object as
    `DistillationTrainer(task=...)`. The trainer, the command line and the cards ask it about everything that touches
    labels; teachers and losses know nothing of it.

    Out of the box a label is a vector of numbers, one for each output of a student with a sequence- or
    image-classification head. A task with such labels sets `metric_names`, writes the five abstract methods, and
    overrides `label_space_of` if it has more than one output. A task whose labels are of another kind, such as masks,
    also overrides the methods under "labels". `hf_ctkd.testing.check_task` checks that all of them fit together.

    Example:
        A student that counts, trained by the Poisson likelihood:

        >>> import torch.nn.functional as F
        >>> from hf_ctkd import InvertedProjectionLoss
        >>> class Counting(StudentTask):
        ...     metric_names = ("mae",)
        ...     problem_type = "regression"
        ...
        ...     def read(self, value, rows, where):
        ...         if value is None:
        ...             return None
        ...         if value < 0:
        ...             raise DatasetError(f"{where} must hold a count of 0 or more, got {value}.")
        ...         return np.array([value], np.float32)
        ...
        ...     def row_losses(self, prediction, labels, *, label_smoothing=0.0):
        ...         known = self.labelled(labels)
        ...         losses = F.poisson_nll_loss(prediction[:, 0], labels[:, 0].nan_to_num(), reduction="none")
        ...         return torch.where(known, losses, 0.0)
        ...
        ...     def default_loss(self):
        ...         return InvertedProjectionLoss()
        ...
        ...     def compute_metrics(self, args):
        ...         def metrics(prediction):
        ...             known = ~np.isnan(prediction.label_ids).any(axis=1)
        ...             error = np.exp(prediction.predictions[known]) - prediction.label_ids[known]
        ...             return {"mae": float(np.abs(error).mean())}
        ...         return metrics
        ...
        ...     def words(self, modality):
        ...         return TaskWords(summary="counts the objects on an image", limitation="It counts in whole images.")
    """

    metric_names: ClassVar[tuple[str, ...]]
    """Metrics of an evaluation unless the run's `metrics` name others."""
    label_columns: ClassVar[tuple[str, ...]] = ("label", "labels", "target", "targets", "score")
    """Usual names of the label column."""
    problem_type: ClassVar[ProblemType | None] = None
    """`problem_type` of the student's configuration, by which pipelines choose softmax, sigmoid or neither; None for
    models that have no use for it."""
    hub_tags: ClassVar[Mapping[Modality, str]] = {"image": "image-classification", "text": "text-classification"}
    """The Hub's task tag for each modality that the task serves."""
    auto_classes: ClassVar[Mapping[Modality, Any]] = {
        "image": AutoModelForImageClassification,
        "text": AutoModelForSequenceClassification,
    }
    """The Auto class that loads a student for each modality."""
    loss_labels: ClassVar[Literal["class", "numbers", "none"]] = "numbers"
    """What a distillation loss may read of a row's label: one class id, a vector of numbers (`LossContext.targets`), or
    nothing."""
    smooths_labels: ClassVar[bool] = False
    """Whether `label_smoothing_factor` has a meaning."""

    # ---- what every task must say ------------------------------------------------------------------------------------

    @abstractmethod
    def read(self, value: Any, rows: TargetRows, where: str) -> np.ndarray | None:  # noqa: ANN401 (as data sets have it)
        """The label of one row as it is trained on, None where the row has none.

        Args:
            value: what the label column holds.
            rows: raw rows, with the type of the column and the names of the outputs.
            where: row and column, for messages.

        Raises:
            DatasetError: beginning with `where`, if the value cannot be a label.
        """

    @abstractmethod
    def row_losses(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, " batch"]:
        """The task loss of every row, summed over its labels; 0 for a row without any, and then without gradient.

        Args:
            prediction: what `prediction` read from the student's outputs.
            labels: as `collate` made them.
            label_smoothing: in [0, 1); not 0 only where `smooths_labels`.
        """

    @abstractmethod
    def default_loss(self) -> DistillationLoss:
        """How such a student learns from teachers unless a loss is given."""

    @abstractmethod
    def compute_metrics(self, args: TaskArguments) -> Callable[[EvalPrediction], dict[str, float]]:
        """Makes the function that computes metrics, with intervals as `name_low` and `name_high` beside them.

        It is called with what `evaluated` kept of all rows and with their collated labels, unlabelled rows included.

        Args:
            args: of the run: names of metrics, resamples of the bootstrap, seed.

        Raises:
            InvalidArgumentError: if `args` names an unknown metric.
        """

    @abstractmethod
    def words(self, modality: Modality) -> TaskWords:
        """What the card says about the task; it is written into the record.

        Args:
            modality: of the rows.
        """

    # ---- rows --------------------------------------------------------------------------------------------------------

    def label_space_of(self, dataset: datasets.Dataset, column: str) -> LabelSpace:
        """Names of the student's outputs; one output, named after the column, unless overridden.

        Args:
            dataset: one split.
            column: of labels; it may be missing where rows are only predicted.
        """
        return LabelSpace((column,))

    def find_label(self, features: Features, named: str | None) -> str:
        """The label column: the one named, or the first of `label_columns` that there is.

        Raises:
            DatasetError: if there is none.
        """
        usual = [name for name in self.label_columns if name in features]
        if named is None and not usual and features:
            raise DatasetError(
                f"Found no label column among {sorted(features)}. Name it with `label_column`; usual names are "
                f"{', '.join(self.label_columns)}."
            )
        return named or (usual[0] if usual else "")

    def rows(
        self,
        dataset: datasets.Dataset,
        args: TaskArguments,
        *,
        like: TargetRows | None = None,
        evaluation: bool = False,
    ) -> TargetRows:
        """Raw rows with their columns found.

        Args:
            dataset: one split.
            args: names of columns, and whether bad rows are left out.
            like: rows that have the same columns, if there are any.
            evaluation: the rows are only to be evaluated on.

        Raises:
            DatasetError: if they cannot be used.
        """
        features = dataset.features if isinstance(dataset, datasets.Dataset) else Features()
        column = self.find_label(features, args.label_column if like is None else like.label_column)
        return TargetRows.with_raw_labels(
            dataset,
            self._space(dataset, column, like),
            label_column=column,
            input_column=args.input_column if like is None else like.input_columns,
            skip_bad_rows=args.skip_bad_rows,
        )

    def rows_to_predict(self, dataset: datasets.Dataset, like: TargetRows) -> TargetRows:
        """Raw rows to be predicted, all of them, labelled or not.

        Args:
            dataset: one split; its label column may be missing or empty.
            like: rows that have the same columns.

        Raises:
            DatasetError: if one cannot be used.
        """
        return TargetRows.with_raw_labels(
            dataset, like.label_space, label_column=like.label_column, input_column=like.input_columns, prediction=True
        )

    def _space(self, dataset: object, column: str, like: TargetRows | None) -> LabelSpace:
        """The outputs that a data set names; those of rows like it where it names none."""
        if not isinstance(dataset, datasets.Dataset) or column not in dataset.features:
            return LabelSpace((column or "label",)) if like is None else like.label_space
        space = self.label_space_of(dataset, column)
        return space if like is None or space.informative else like.label_space

    # ---- labels ------------------------------------------------------------------------------------------------------

    def label(self, rows: TargetRows, number: int, content: RowInput | None = None) -> Label:
        """The label of one row: a vector, filled with NaN where there is none, unless overridden.

        Args:
            rows: raw rows.
            number: the row.
            content: its image or texts, where it is at hand, to be checked against.

        Raises:
            DatasetError: naming the row, if it cannot be used.
        """
        where = f"Row {int(rows.origin[number])} of `{rows.label_column}`"
        label = self.read(rows.raw_label(number), rows, where)
        if label is None:
            return np.full(len(rows.label_space), np.nan, np.float32)
        if label.shape != (len(rows.label_space),):
            raise DatasetError(
                f"{where} must hold {len(rows.label_space)} numbers, got an array of shape {label.shape}."
            )
        return label

    def augment(self, augmentation: Augmentation, content: RowInput, label: Label) -> tuple[RowInput, Label]:
        """A changed row with the label that then belongs to it: its label as it was, unless overridden."""
        return augmentation(content), label

    def collate(self, labels: Sequence[Label], view: Preprocessor, inputs: dict[str, Tensor]) -> Tensor:
        """Labels as a batch: vectors `[batch, outputs]`, NaN for rows without a label, unless overridden.

        Args:
            labels: one a row.
            view: the student's preprocessing.
            inputs: what it made of the same rows.
        """
        return torch.from_numpy(np.stack([label for label in labels if isinstance(label, np.ndarray)]))

    def labelled(self, labels: Shaped[Tensor, "batch ..."]) -> Bool[Tensor, " batch"]:
        """Which rows of a batch have a label, if only of one pixel."""
        return ~labels.isnan().any(dim=1)

    def label_counts(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """How many labels each row has, over which the task loss is a mean: one or none, unless overridden."""
        return self.labelled(labels).long()

    def count(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, ""]:
        """How many labels there are in a batch."""
        return self.label_counts(labels).sum()

    def row_labels(self, labels: Shaped[Tensor, "batch ..."]) -> Int[Tensor, " batch"]:
        """What a distillation loss is told of the rows of a batch: a class id; 0 where rows have labels but no class.

        -100 for a row without a label.
        """
        return torch.where(self.labelled(labels), 0, UNLABELLED)

    def targets(self, rows: TargetRows) -> Float[Tensor, "rows outputs"] | None:
        """Labels of all rows as numbers for losses that regress them, NaN for a row without a label.

        None where `loss_labels` is not `"numbers"`.

        Args:
            rows: raw rows.

        Raises:
            DatasetError: naming the row whose label cannot be used.
        """
        if self.loss_labels != "numbers":
            return None
        return self._matrix(rows)

    def _matrix(self, rows: TargetRows) -> Float[Tensor, "rows outputs"]:
        labels = (self.label(rows, number) for number in range(len(rows)))
        return torch.from_numpy(np.stack([label for label in labels if isinstance(label, np.ndarray)]))

    def has_labels(self, rows: TargetRows) -> bool:
        """Whether any row has a label, if only of one pixel.

        Args:
            rows: raw rows.

        Raises:
            DatasetError: naming the row whose label cannot be used.
        """
        return bool(self.labelled(self._matrix(rows)).any())

    def rows_with_label(self, rows: TargetRows) -> list[int]:
        """Indices of the rows with a label."""
        return self.labelled(self._matrix(rows)).nonzero()[:, 0].tolist()

    def label_names(self, rows: TargetRows) -> tuple[str, ...]:
        """Names of the student's outputs for the record; none for a task without."""
        return rows.label_space.names

    def fingerprint(self, rows: TargetRows) -> str:
        """Digest of the rows in order, inputs and labels."""
        hasher = xxhash.xxh3_128()
        for digest, label in zip(rows.digests, rows.label_digests, strict=True):
            hasher.update(f"{digest}:{label};".encode())
        return hasher.hexdigest()

    # ---- the student -------------------------------------------------------------------------------------------------

    def tag(self, modality: Modality) -> str:
        """The Hub's task tag."""
        return self.hub_tags[modality]

    def auto_class(self, modality: Modality) -> Any:  # noqa: ANN401 (Auto classes have no common type)
        """The Auto class of transformers that loads such a student.

        Raises:
            InvalidArgumentError: if the task does not serve the modality.
        """
        if modality not in self.auto_classes:
            raise InvalidArgumentError(
                f"A student for {', '.join(self.hub_tags.values())} reads {' or '.join(self.auto_classes)}s, but the "
                f"data set holds {modality}s. Choose another task or data set."
            )
        return self.auto_classes[modality]

    def head_settings(self, label_space: LabelSpace) -> dict[str, Any]:
        """Arguments of `from_pretrained` that give a student its head.

        Args:
            label_space: of the training rows.
        """
        names = label_space.names
        settings: dict[str, Any] = {
            "id2label": dict(enumerate(names)),
            "label2id": {name: index for index, name in enumerate(names)},
        }
        return settings if self.problem_type is None else settings | {"problem_type": self.problem_type}

    def prediction(self, outputs: ModelOutputs) -> Tensor:
        """The student's prediction: its logits `[batch, outputs]`, unless overridden.

        Raises:
            InvalidArgumentError: if it has no such head.
        """
        if outputs.logits is None:
            raise InvalidArgumentError(
                "`model` must return logits, but it has no classification head. Load it with an AutoModelFor... class."
            )
        return outputs.logits

    def check_student(self, student: PreTrainedModel, outputs: ModelOutputs, rows: TargetRows) -> None:
        """Compare a student with the labels: it must have as many outputs, of the same names in the same order.

        A student that names none is given the data's names, and a `problem_type` that contradicts the task is replaced.

        Args:
            student: the model.
            outputs: its outputs on a few rows.
            rows: raw rows.

        Raises:
            InvalidArgumentError: if it has no head, or one for other labels.
        """
        logits, space = self.prediction(outputs), rows.label_space
        if logits.shape[1] != len(space):
            raise InvalidArgumentError(
                f"`model` must have {len(space)} {'outputs' if len(space) == 1 else 'classes'} as the data set has, "
                f"got {logits.shape[1]}. Load it with `num_labels={len(space)}, ignore_mismatched_sizes=True`."
            )
        config = student.config
        names = LabelSpace.from_id2label(config.id2label)
        if names.informative and space.informative and names != space:
            raise InvalidArgumentError(
                f"`model` calls its classes {listed(names)}, the data set {listed(space)}. "
                "Set `id2label` and `label2id` of the model to the data set's names, in its order."
            )
        if not names.informative:
            config.id2label = dict(enumerate(space.names))
            config.label2id = {name: index for index, name in enumerate(space.names)}
        self._correct_problem_type(student)

    def _correct_problem_type(self, student: PreTrainedModel) -> None:
        """Pipelines of transformers choose softmax, sigmoid or neither by it: a wrong one gives wrong scores."""
        config = student.config
        if self.problem_type is None or config.problem_type == self.problem_type:
            return
        if config.problem_type is not None:
            logger.warning(
                f"`problem_type` of the student is set to {self.problem_type!r}, as its labels are of that kind; it "
                f"was {config.problem_type!r}."
            )
        config.problem_type = self.problem_type

    # ---- losses and metrics ------------------------------------------------------------------------------------------

    def loss_sum(
        self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."], *, label_smoothing: float = 0.0
    ) -> Float[Tensor, ""]:
        """The task loss, summed over all labels of a batch; 0 without any."""
        return self.row_losses(prediction, labels, label_smoothing=label_smoothing).sum()

    def evaluated(self, prediction: Tensor, labels: Shaped[Tensor, "batch ..."]) -> Tensor:
        """What an evaluation keeps of a prediction, `[batch, ...]`: all of it, unless overridden."""
        return prediction.float()

    def reliability(self, prediction: EvalPrediction) -> Reliability | None:
        """How well the student's probabilities agree with the labels, for the card.

        Args:
            prediction: what `evaluated` kept of all rows, and their collated labels, unlabelled rows included.

        Returns:
            None for a task whose predictions are no probabilities of classes, unless overridden.
        """
        return None

    def check_arguments(self, args: TaskArguments) -> None:
        """Refuse arguments of a run that have no meaning for the task.

        Raises:
            InvalidArgumentError: naming the argument.
        """
        if args.label_smoothing_factor and not self.smooths_labels:
            raise InvalidArgumentError(
                f"`label_smoothing_factor` must be 0 for {type(self).__name__}, got {args.label_smoothing_factor}. "
                "Only labels that are one class out of several can be smoothed."
            )

    def check_loss(self, loss: DistillationLoss, rows: TargetRows | None) -> None:
        """Refuse a distillation loss that reads labels of another kind.

        Args:
            loss: how the student is to learn from teachers.
            rows: the training rows, None where there are none.

        Raises:
            InvalidArgumentError: if it reads labels that such rows do not have.
            DatasetError: if it needs other rows.
        """
        if Needs.TARGETS in loss.needs:
            if self.loss_labels != "numbers":
                raise InvalidArgumentError(
                    f"`loss` {type(loss).__name__} regresses labels that are numbers, but {type(self).__name__} has "
                    f"none. Use {type(self.default_loss()).__name__}."
                )
        elif loss.needs & (Needs.FIT | Needs.LOGITS | Needs.LABEL_NAMES) and self.loss_labels != "class":
            raise InvalidArgumentError(
                f"`loss` {type(loss).__name__} reads one class a row, but the student is for {type(self).__name__}. "
                f"Use {type(self.default_loss()).__name__} or SpectralLoss(layer=...)."
            )


def listed(space: LabelSpace) -> str:
    """How many classes, and the names of the first few."""
    names = ", ".join(space.names[:6])
    return f"{len(space)} ({names}{', ...' if len(space) > 6 else ''})"
