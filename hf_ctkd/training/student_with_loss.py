"""The student and the loss as one module: what gets wrapped, trained and checkpointed together."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from hf_ctkd.data import InputFeatureReader
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.losses.base import check_names, on_selected_rows
from hf_ctkd.tasks import StudentTask
from hf_ctkd.teachers import FeatureReader
from hf_ctkd.training.adapter import StudentAdapter
from hf_ctkd.training.batch_norms import average_over_batches
from hf_ctkd.training.sharded import count_parameters
from hf_ctkd.training.task_loss import TaskLoss
from hf_ctkd.types import ModelOutputs

TASK = "task_loss"
LOGITS = "logits"

TeacherOutputs = tuple[ModelOutputs, ...] | Callable[[Tensor | None], tuple[ModelOutputs, ...]]
"""Outputs of each teacher on the rows of a batch, or a function from the rows selected for each (None: all) to them."""


class StudentWithLoss(nn.Module):
    """A student together with the distillation loss and its projections.

    A loss kept outside the wrapped module is neither synchronised between processes nor saved; as part of this one it
    is.

    Args:
        student: a model with the head that its task asks for.
        loss: the distillation loss; None to train on labels alone.
        adapter: the part of the student that is trained, in its layers; None where that is the student itself.
        task_loss: what the student is for, and what a wrong prediction costs; classification when None.
        input_feature_reader: reads the student's own input for a loss that needs it.
    """

    # `Trainer` reads it: the loss of a step is normalised over all its micro-batches already, so that no release of
    # transformers divides it by their number once more.
    accepts_loss_kwargs = True
    _keys_to_ignore_on_save = None

    def __init__(
        self,
        student: PreTrainedModel,
        loss: DistillationLoss | None = None,
        *,
        adapter: StudentAdapter | None = None,
        task_loss: TaskLoss | None = None,
        input_feature_reader: InputFeatureReader | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.adapter = adapter
        self.task_loss = TaskLoss() if task_loss is None else task_loss
        self.reader = FeatureReader(student)
        average_over_batches(student)
        self.input_feature_reader = input_feature_reader

    def train(self, mode: bool = True) -> "StudentWithLoss":
        """As in `torch.nn.Module`, but batch norms beside an adapter stay as they are."""
        super().train(mode)
        if self.adapter is not None:
            self.adapter.freeze_statistics()
        return self

    @property
    def task(self) -> StudentTask:
        """What the student is for."""
        return self.task_loss.task

    @property
    def device(self) -> torch.device:
        """Where the student is."""
        return self.student.device

    @property
    def config(self) -> PreTrainedConfig:
        """The student's configuration."""
        return self.student.config

    def num_parameters(self) -> int:
        """How many parameters the student has, in all processes together; trackers record it."""
        return count_parameters(self.student)

    @property
    def is_activation_checkpointing(self) -> bool:
        """Whether the student recomputes activations in the backward pass."""
        return self.student.is_activation_checkpointing

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: dict[str, object] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Trade time for memory in the student; arguments as in `PreTrainedModel`."""
        self.student.activation_checkpointing_enable(activation_checkpointing_kwargs, every_n_layers, offload)

    # transformers 5.18 calls these two by their earlier names; 5.23 knows both and calls the new ones.

    @property
    def is_gradient_checkpointing(self) -> bool:
        """As `is_activation_checkpointing`."""
        return self.student.is_gradient_checkpointing

    def gradient_checkpointing_enable(
        self,
        gradient_checkpointing_kwargs: dict[str, object] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """As `activation_checkpointing_enable`."""
        self.student.gradient_checkpointing_enable(
            gradient_checkpointing_kwargs, every_n_layers=every_n_layers, offload=offload
        )

    def get_input_embeddings(self) -> nn.Module:
        """The student's, for `neftune_noise_alpha`."""
        return self.student.get_input_embeddings()

    @property
    def hidden(self) -> tuple[int, ...]:
        """Student layers that the loss reads."""
        return () if self.loss is None else tuple(pair[0] for pair in self.loss.hidden)

    def outputs(self, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """Outputs on preprocessed rows, with gradient, and the student's head where that is a linear layer."""
        outputs = self.reader.read(inputs, self.hidden)
        return replace(outputs, head=None if self.reader.head is None else self.reader.classify)

    def forward(
        self,
        student: Mapping[str, Tensor],
        labels: Shaped[Tensor, "batch ..."] | None = None,
        teachers: TeacherOutputs | None = None,
        targets: Float[Tensor, "distilled width"] | None = None,
        rows: Int[Tensor, " distilled"] | None = None,
        **batch: object,
    ) -> ModelOutput:
        """Logits (or the other prediction of the task), the task loss, and the terms of the distillation loss.

        The task loss is a mean over labels, 0 without any. The distillation loss is left out without `teachers` and
        `targets`.

        Args:
            student: preprocessed rows.
            labels: as the task collates them: class ids, -100 for unlabelled rows, when the student classifies. Without
                them there are logits alone, as for a `compute_loss` that takes the labels out of the batch.
            teachers: outputs of each teacher on the rows to distill, empty for a loss without teachers; or a function
                that returns them once the loss has selected the rows that each teacher reads.
            targets: rows of the loss's `row_targets`, in place of teachers.
            rows: positions of the rows to distill; None for all.
            batch: the rest of a batch, which is not read: `model(**inputs)` is what the documentation of `Trainer` has.

        Raises:
            InvalidArgumentError: if a term of the loss has a reserved name.
        """
        outputs = self.outputs(student)
        prediction = self.task.prediction(outputs)
        result = {LOGITS: prediction}
        if labels is not None:
            result[TASK] = self.task_loss(prediction, labels)
            result |= self._terms(outputs, student, self.task.row_labels(labels), teachers, targets, rows)
        return ModelOutput(**result)

    def _terms(
        self,
        outputs: ModelOutputs,
        inputs: Mapping[str, Tensor],
        labels: Int[Tensor, " batch"],
        teachers: TeacherOutputs | None,
        targets: Tensor | None,
        rows: Tensor | None,
    ) -> dict[str, Tensor]:
        if self.loss is None:
            return {}
        if targets is None and teachers is not None and self.input_feature_reader is not None:
            outputs = replace(outputs, inputs=self.input_feature_reader.read(inputs))
        if rows is not None:
            outputs, labels = outputs.select(rows), labels[rows]
        if targets is not None:
            terms = self.loss.on_targets(outputs, targets, labels)
        elif teachers is not None:
            selected = self.loss.select(outputs)
            read = on_selected_rows(teachers, selected) if isinstance(teachers, tuple) else teachers(selected)
            terms = self.loss(outputs, read, labels)
        else:
            return {}
        check_names(self.loss, terms)
        return terms
