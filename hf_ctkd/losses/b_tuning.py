"""B-Tuning: the student's features predict, through a fixed map, what Bayesian regressions of the teachers predict."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, chunked_targets, require_teachers, require_weight
from hf_ctkd.probes.bayesian import BayesianRegression
from hf_ctkd.probes.labelled import check_all_rows, fitting_rows, labelled_rows
from hf_ctkd.types import LossContext, ModelOutputs, Needs, RowOutputs


class BTuningLoss(DistillationLoss):
    """Squared distance between class scores of the student's features and those of the teachers' features.

    A Bayesian linear regression onto one-hot labels is fitted to the features `f_i` of each teacher, and one to the
    features `f_s` of the student before it is trained. With the posterior means `m_i` and `m_s`, the loss is the mean
    over rows and classes of `(m_s f_s(x) - sum_i w_i m_i f_i(x))^2`, where `w` is the softmax of the teachers' LogME
    over `temperature`. Only `f_s` is trained; labels alone train the student's head.

    Use it for a pretrained student and teachers of any architecture, ranked by LogME. Not for a student trained from
    its configuration: `m_s` is fitted to what an untrained student happens to compute. `ProbeLoss` and
    `RowTransportLoss` also use teachers' class predictions, but train the student's own predictions with them.

    Args:
        weight: of the term, positive. The map is large where the student's features hardly differ from row to row, as
            those of a pooler often do; then try 1e-3, as the default may hold the student at chance.
        temperature: of the softmax over the teachers' LogME, positive; a low one trusts the best teacher alone.

    Raises:
        InvalidArgumentError: an argument is not positive.

    Reference:
        After You, Liu, Zhang, Wang, Jordan and Long, "Ranking and tuning pre-trained models: a new paradigm for
        exploiting model hubs", JMLR 23, 2022, arXiv:2110.10545; defaults of the authors' code. They train on labelled
        rows; here unlabelled rows count as well.

    Example:
        >>> from hf_ctkd import BTuningLoss, DistillationConfig, DistillationTrainer
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=ranking.top(3),
        ...     loss=BTuningLoss(),
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "b_tuning"
    citation = """@article{you2022ranking,
  title = {Ranking and Tuning Pre-trained Models: A New Paradigm for Exploiting Model Hubs},
  author = {You, Kaichao and Liu, Yong and Zhang, Ziyang and Wang, Jianmin and Jordan, Michael I. and Long, Mingsheng},
  journal = {Journal of Machine Learning Research},
  volume = {23},
  year = {2022},
  eprint = {2110.10545},
  archivePrefix = {arXiv},
  note = {After this paper; unlabelled rows are an addition of hf_ctkd}
}
"""
    needs = Needs.TEACHER | Needs.FEATURES | Needs.FIT
    teacher_weights: Tensor
    log_evidence: Tensor
    student_map: Tensor

    def __init__(self, weight: float = 100.0, *, temperature: float = 0.1) -> None:
        super().__init__()
        require_weight(weight)
        if not temperature > 0:
            raise InvalidArgumentError(f"`temperature` must be positive, got {temperature}.")
        self.weight, self.temperature = weight, temperature
        for name in ("teacher_weights", "log_evidence", "student_map"):
            self.register_buffer(name, torch.zeros(0))

    def setup(self, context: LossContext) -> None:
        """Fit the regressions of the teachers and of the untrained student; see `DistillationLoss.setup`.

        Raises:
            DatasetError: if no row is labelled.
            InvalidArgumentError: without a teacher, or without the student's outputs over all rows.
        """
        require_teachers(context, type(self).__name__)
        if context.student_rows is None:
            raise InvalidArgumentError(
                "`student_rows` must hold the untrained student's outputs for BTuningLoss, got None. Pass them in "
                "`LossContext`; DistillationTrainer does."
            )
        check_all_rows(context.teachers, context.labels)
        rows = fitting_rows(context.labels, context.seed)
        fits = [self._fit(outputs, rows, context) for outputs in context.teachers]
        self.student_map = self._fit(context.student_rows, rows, context).weight.float()
        self.log_evidence = torch.tensor([fit.log_evidence for fit in fits])
        self.teacher_weights = (self.log_evidence / self.temperature).softmax(dim=0)
        for index, fit in enumerate(fits):
            self.register_buffer(f"teacher_map_{index}", fit.weight.float())

    @staticmethod
    def _fit(outputs: RowOutputs, rows: Int[Tensor, " fitted"], context: LossContext) -> BayesianRegression:
        n_classes = len(context.label_space)
        part, labels = labelled_rows(outputs.select(rows), context.labels[rows], n_classes=n_classes)
        return BayesianRegression.fit(part.features, labels, n_classes)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `b_tuning`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            targets = torch.cat([self._scores(teacher, index) for index, teacher in enumerate(teachers)], dim=1)
        return self.on_targets(student, targets, labels)

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows classes"]:
        """The teachers' weighted class scores, summed; see `DistillationLoss.row_targets`."""
        scores = chunked_targets(context, self._scores, self.student_map.device)
        return scores.unflatten(1, (len(context.teachers), -1)).sum(dim=1)

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch width"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `b_tuning`; see `DistillationLoss.on_targets`."""
        with torch.autocast(student.features.device.type, enabled=False):
            scores = student.features.float() @ self.student_map.T
            # Scores of several teachers stand side by side; their sum is the target.
            summed = targets.float().unflatten(1, (-1, scores.shape[1])).sum(dim=1)
            return {self.name: self.weight * F.mse_loss(scores, summed)}

    def _scores(self, teacher: ModelOutputs, index: int) -> Float[Tensor, "batch classes"]:
        scores = teacher.features.detach().float() @ self.get_buffer(f"teacher_map_{index}").T
        return self.teacher_weights[index] * scores

    def weights(self) -> tuple[float, ...]:
        """Weight of each teacher, summing to one."""
        return tuple(self.teacher_weights.tolist())

    def diagnostics(self) -> dict[str, float]:
        """LogME of each teacher."""
        return {f"{self.name}/logme_{index}": value for index, value in enumerate(self.log_evidence.tolist())}
