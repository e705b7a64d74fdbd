"""Teacher-free regularisation of the spectrum of the student's features."""

import logging
from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss
from hf_ctkd.types import LossContext, ModelOutputs, Needs

logger = logging.getLogger(__name__)

_FUNCTIONS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "square": lambda values, rank: values[rank:].square().sum(),
    "identity": lambda values, rank: values[rank:].sum(),
    "log": lambda values, rank: values[rank:].log1p().sum(),
    "ratio": lambda values, rank: values[rank:].square().sum() / values.square().sum().clamp_min(1e-12),
}


class SpectralLoss(DistillationLoss):
    """Penalty on the singular values of the student's features beyond the largest: what a projection loss does anyway.

    An inverted projection loss splits into a transfer of knowledge and a spectral regularisation of the student's
    features; this is the second part alone, so it needs no teacher. Use it as the control of every projection loss, and
    as a mild regulariser where there is no teacher. Not for batches of `rank` rows or fewer, or one more when centred:
    the penalty is zero there, and a warning is logged.

    Singular values are those of the features over the square root of their number of rows, so that the penalty does not
    grow with the batch. By default the mean of the batch is subtracted first: it makes the first singular value of
    features that are all positive, yet tells no row from another. The default "ratio" has no scale, so that the student
    cannot please it by shrinking its features, and one weight serves all students.

    Args:
        rank: how many of the largest singular values go free, not negative; None for the number of classes.
        function: of the others: "ratio", their share of the sum of squares of all; or "square", "identity", "log"
            (`log(1 + s)`), summed, which shrink with the features and need a weight of about 0.05.
        weight: of the term, not negative.
        centred: whether the mean of the batch is subtracted from the features.
        layer: index into the student's `hidden_states`; None reads what the head reads.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Reconstructed from Auty, Miles, Kolbeinsson and Mikolajczyk, arXiv:2403.14494; "ratio" and the centring
        are ours.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, SpectralLoss
        >>> loss = SpectralLoss(rank=50)
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20, per_device_train_batch_size=128),
        ...     processing_class=image_processor,
        ...     teachers=None,
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "spectral"
    citation = """@misc{auty2024learning,
  title = {Learning to Project for Cross-Task Knowledge Distillation},
  author = {Auty, Dylan and Miles, Roy and Kolbeinsson, Benedikt and Mikolajczyk, Krystian},
  year = {2024},
  eprint = {2403.14494},
  archivePrefix = {arXiv},
  note = {Spectral regularisation: reconstructed}
}
"""
    needs = Needs.NOTHING

    def __init__(
        self,
        rank: int | None = None,
        *,
        function: str = "ratio",
        weight: float = 1.0,
        centred: bool = True,
        layer: int | None = None,
    ) -> None:
        super().__init__()
        if rank is not None and rank < 0:
            raise InvalidArgumentError(f"`rank` must not be negative, got {rank}.")
        if function not in _FUNCTIONS:
            raise InvalidArgumentError(f"`function` must be one of {', '.join(_FUNCTIONS)}, got {function!r}.")
        _check_weight(weight)
        self.rank, self.function, self.weight, self.layer = rank, function, weight, layer
        self.centred = centred
        self.hidden = _layers(layer)
        self.free_rank = rank
        self._seen = False

    def setup(self, context: LossContext) -> None:
        """Take the number of classes for the rank when none is given; see `DistillationLoss.setup`."""
        self.free_rank = len(context.label_space) if self.rank is None else self.rank

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `spectral`; see `DistillationLoss.forward`."""
        if self.free_rank is None:
            raise InvalidArgumentError("`rank` is None and the number of classes unknown. Call `setup` first.")
        if not self._seen:
            self._seen = True
            self._warn_of_small_batch(student, self.free_rank)
        values = _singular_values(student, self.layer, centred=self.centred)
        return {self.name: self.weight * _FUNCTIONS[self.function](values, self.free_rank)}

    def _warn_of_small_batch(self, student: ModelOutputs, free_rank: int) -> None:
        """Say in the log that the penalty is zero, if the first batch has no more singular values than go free."""
        rows = student.features if self.layer is None else student.hidden[0].values.flatten(0, 1)
        count = min(len(rows) - self.centred, rows.shape[1])
        if count <= free_rank:
            logger.warning(
                "%s has nothing to penalise: features of width %d of %d rows have at most %d singular values, and "
                "`rank` leaves %d free. Raise `per_device_train_batch_size`, or pass a smaller `rank`.",
                type(self).__name__, rows.shape[1], len(rows), count, free_rank,
            )  # fmt: skip


class BSSLoss(DistillationLoss):
    """Batch spectral shrinkage: the squares of the smallest singular values of the student's features.

    Use it as the baseline of `SpectralLoss`, when a pretrained student is fine-tuned on few rows. `SpectralLoss` with
    "square", a rank of all but `k` and `centred=False` is the same.

    Args:
        k: how many of the smallest singular values, positive.
        weight: of the term, not negative. Singular values are taken over the square root of the number of rows: the
            paper's 0.001 with 48 rows is 0.048 here.
        layer: index into the student's `hidden_states`; None reads what the head reads.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        After Chen, Wang, Fu, Long and Wang, "Catastrophic forgetting meets negative transfer: batch spectral shrinkage
        for safe transfer learning", NeurIPS 2019.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, BSSLoss
        >>> loss = BSSLoss(k=2)
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=None,
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "bss"
    citation = """@inproceedings{chen2019catastrophic,
  title = {Catastrophic Forgetting Meets Negative Transfer: Batch Spectral Shrinkage for Safe Transfer Learning},
  author = {Chen, Xinyang and Wang, Sinan and Fu, Bo and Long, Mingsheng and Wang, Jianmin},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {32},
  year = {2019},
  note = {After this paper}
}
"""
    needs = Needs.NOTHING

    def __init__(self, k: int = 1, *, weight: float = 0.048, layer: int | None = None) -> None:
        super().__init__()
        if k < 1:
            raise InvalidArgumentError(f"`k` must be at least 1, got {k}.")
        _check_weight(weight)
        self.k, self.weight, self.layer = k, weight, layer
        self.hidden = _layers(layer)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `bss`; see `DistillationLoss.forward`."""
        values = _singular_values(student, self.layer)
        return {self.name: self.weight * _FUNCTIONS["square"](values, max(len(values) - self.k, 0))}


def _layers(layer: int | None) -> tuple[tuple[int, int], ...]:
    # Layers come in pairs; a teacher, if there is one for another loss, is asked for one that every model has.
    return () if layer is None else ((layer, -1),)


def _singular_values(student: ModelOutputs, layer: int | None, *, centred: bool = False) -> Float[Tensor, " values"]:
    """In descending order; those of no size are constants, as their singular vectors are arbitrary."""
    with torch.autocast(student.features.device.type, enabled=False):
        if layer is None:
            rows = student.features.float()
        else:
            hidden = student.hidden[0]
            rows = (hidden.values.flatten(0, 1) if hidden.mask is None else hidden.values[hidden.mask]).float()
        if centred and len(rows):
            rows = rows - rows.mean(dim=0)
        values = torch.linalg.svdvals(rows / max(len(rows), 1) ** 0.5)
        if not len(values):
            return values
        return torch.where(values > 1e-6 * values[0].detach() + 1e-12, values, values.detach())


def _check_weight(weight: float) -> None:
    if not weight >= 0:
        raise InvalidArgumentError(f"`weight` must not be negative, got {weight}.")
