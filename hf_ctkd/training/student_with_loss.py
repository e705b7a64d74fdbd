"""The student and the loss as one module: what gets wrapped, trained and checkpointed together."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from jaxtyping import Shaped
from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from hf_ctkd.data import InputFeatureReader
from hf_ctkd.losses import DistillationLoss
from hf_ctkd.losses.base import check_names, on_chosen
from hf_ctkd.tasks import Classification, StudentTask
from hf_ctkd.teachers import FeatureReader
from hf_ctkd.types import ModelOutputs

TASK = "task_loss"
LOGITS = "logits"

Answers = tuple[ModelOutputs, ...] | Callable[[Tensor | None], tuple[ModelOutputs, ...]]
"""Outputs of each teacher on all rows of a batch, or what gives them for the rows that a loss chooses (None: all)."""


class StudentWithLoss(nn.Module):
    """A student together with the distillation loss and its projections.

    A loss kept outside the wrapped module is neither synchronised between processes nor saved; as part of this one it
    is.

    Args:
        student: a model with the head that its task asks for.
        loss: the distillation loss; None to train on labels alone.
        label_smoothing: of the task loss, in [0, 1).
        task: what the student is for; classification when None.
        input_feature_reader: reads the student's own input for a loss that needs it.
    """

    accepts_loss_kwargs = False
    _keys_to_ignore_on_save = None

    def __init__(
        self,
        student: PreTrainedModel,
        loss: DistillationLoss | None = None,
        *,
        label_smoothing: float = 0.0,
        task: StudentTask | None = None,
        input_feature_reader: InputFeatureReader | None = None,
    ) -> None:
        super().__init__()
        self.student = student
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.task = Classification() if task is None else task
        self.reader = FeatureReader(student)
        self.input_feature_reader = input_feature_reader

    @property
    def config(self) -> PreTrainedConfig:
        """The student's configuration."""
        return self.student.config

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

    def get_input_embeddings(self) -> nn.Module:
        """The student's, for `neftune_noise_alpha`."""
        return self.student.get_input_embeddings()

    @property
    def hidden(self) -> tuple[int, ...]:
        """Student layers that the loss reads."""
        return () if self.loss is None else tuple(pair[0] for pair in self.loss.hidden)

    def outputs(self, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """What the student says about preprocessed rows, with gradient, and its head where that is a linear layer."""
        outputs = self.reader.read(inputs, self.hidden)
        head = None if self.reader.head is None else self.reader.classify
        shown = None if self.input_feature_reader is None else self.input_feature_reader.read(inputs)
        return replace(outputs, head=head, inputs=shown)

    def forward(
        self,
        student: Mapping[str, Tensor],
        labels: Shaped[Tensor, "batch ..."],
        teachers: Answers | None = None,
    ) -> dict[str, Tensor]:
        """Logits (or what else the head says), the task loss and, given teachers' outputs, the loss's terms.

        The task loss is a mean over labels, 0 without any.

        Args:
            student: preprocessed rows.
            labels: as the task collates them: class ids, -100 for unlabelled rows, when the student classifies.
            teachers: outputs of each teacher on the same rows, empty for a loss without teachers, or what gives them
                once the student has spoken and the loss has chosen whom to ask; None to leave the loss out.

        Raises:
            InvalidArgumentError: if a term of the loss has a name that is taken.
        """
        outputs = self.outputs(student)
        prediction = self.task.prediction(outputs)
        total = self.task.loss_sum(prediction, labels, label_smoothing=self.label_smoothing)
        result = {LOGITS: prediction, TASK: total / self.task.count(labels).clamp_min(1)}
        if self.loss is not None and teachers is not None:
            chosen = self.loss.select(outputs)
            said = on_chosen(teachers, chosen) if isinstance(teachers, tuple) else teachers(chosen)
            terms = self.loss(outputs, said, self.task.row_labels(labels))
            check_names(self.loss, terms)
            result.update(terms)
        return result
