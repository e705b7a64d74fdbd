"""Adaptive feature transfer: rows are as similar in the student's features as in the useful ones of the teachers."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, require_teachers, require_weight
from hf_ctkd.types import LossContext, ModelOutputs, Needs

_EPSILON = 1e-8


class AFTLoss(DistillationLoss):
    """Distance between the rows' similarities in the student's features and in the teachers' scaled features.

    The features of all teachers stand side by side, each dimension multiplied by a learned `sigmoid(s)`, so that
    dimensions which are of no use for the task can fade out. Both sides are centred over the batch and their rows
    scaled to length one; with the linear kernels `K` of these rows, the loss is `weight * sqrt(mean((K_s - K_t)^2))`.

    Use it for a pretrained student that is fine-tuned beside one or several larger models, whose widths may differ from
    the student's: there is no projection. Similarities are those within one forward pass, so batches below about 32
    rows say little, and gradient accumulation compares no rows of different passes. It reads no labels; with few of
    them and many unlabelled rows, `RowTransportLoss` also teaches the classes of these rows.

    Args:
        weight: the paper's beta, positive. The default is for batches of 128; try 3 in smaller ones.
        learning_rate: peak learning rate of `s`, positive; the student keeps that of the training arguments.

    Raises:
        InvalidArgumentError: an argument is not positive.

    Reference:
        After Qiu, Han, Maddix, Zhang, Wang and Wilson, "Transferring knowledge from large foundation models to small
        downstream models", ICML 2024, arXiv:2406.07337; weight and learning rate of the authors' code.

    Example:
        >>> from hf_ctkd import AFTLoss, DistillationConfig, DistillationTrainer
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", per_device_train_batch_size=128),
        ...     processing_class=image_processor,
        ...     teachers=["facebook/dinov2-small"],
        ...     loss=AFTLoss(),
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "aft"
    citation = """@inproceedings{qiu2024transferring,
  title = {Transferring Knowledge from Large Foundation Models to Small Downstream Models},
  author = {Qiu, Shikai and Han, Boran and Maddix, Danielle C. and Zhang, Shuai and Wang, Yuyang and
            Wilson, Andrew Gordon},
  booktitle = {ICML},
  year = {2024},
  eprint = {2406.07337},
  archivePrefix = {arXiv},
  note = {After this paper}
}
"""
    needs = Needs.TEACHER | Needs.FEATURES

    def __init__(self, weight: float = 10.0, *, learning_rate: float = 1e-2) -> None:
        super().__init__()
        require_weight(weight)
        if not learning_rate > 0:
            raise InvalidArgumentError(f"`learning_rate` must be positive, got {learning_rate}.")
        self.weight, self.learning_rate = weight, learning_rate
        self.raw_scales = nn.ParameterList()

    def setup(self, context: LossContext) -> None:
        """Make a scale for each dimension of each teacher, one half to begin with; see `DistillationLoss.setup`."""
        require_teachers(context, type(self).__name__)
        for teacher in context.teachers:
            width = teacher.select(torch.arange(1)).features.shape[1]
            self.raw_scales.append(nn.Parameter(torch.zeros(width)))

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `aft`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            pairs = zip(teachers, self.raw_scales, strict=True)
            scaled = [teacher.features.detach().float() * scales.float().sigmoid() for teacher, scales in pairs]
            gap = _similarities(student.features.float()) - _similarities(torch.cat(scaled, dim=1))
            # The authors' constant under the root, whose gradient at zero would be infinite.
            return {self.name: self.weight * (gap.square().mean() + _EPSILON).sqrt()}

    def diagnostics(self) -> dict[str, float]:
        """Mean scale of each teacher's dimensions, in (0, 1): below one half where they fade out."""
        return {
            f"{self.name}/scale_{index}": float(scales.detach().sigmoid().mean())
            for index, scales in enumerate(self.raw_scales)
        }


def _similarities(features: Float[Tensor, "batch width"]) -> Float[Tensor, "batch batch"]:
    """Cosines of all pairs of rows after the mean row was subtracted."""
    unit = F.normalize(features - features.mean(dim=0), dim=1, eps=_EPSILON)
    return unit @ unit.T
