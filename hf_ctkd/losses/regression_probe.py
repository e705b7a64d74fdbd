"""Labels that are numbers, predicted by ridge probes from teachers' features, as a soft target."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses.base import DistillationLoss, require_teachers, row_weights, student_logits
from hf_ctkd.probes import gain_shares, views
from hf_ctkd.probes.folds import deal_folds
from hf_ctkd.probes.labelled import CHUNK_ROWS, check_outputs
from hf_ctkd.probes.solver import Basis
from hf_ctkd.types import LossContext, ModelOutputs, Needs

_CLIP = 0.01
"""Probabilities are held inside [0.01, 0.99]: a line through 0/1 labels leaves that range, and a logit must not."""
_FEWEST_ROWS = 4
_POWER = 4.0


class RegressionProbeLoss(DistillationLoss):
    """Trains the student towards ridge probes of teachers' features, weighted by how well these predict unseen rows.

    A ridge regression predicts the labels from each pooled layer of each teacher and from what its head reads. The
    probes are averaged, each weighted by a power of its cross-fitted R2, and the R2 of that average, clipped at 0, is
    the weight of the loss, one for each output: an output that no teacher helps to predict is left to the labels. A
    labelled row counts by the labelled share of all rows, at most 0.3, as the task loss already teaches its label.

    Use it for students that regress numbers or that give a row several classes, with rows that are mostly unlabelled.
    For one class a row use `RowTransportLoss` or `ProbeLoss`. It needs at least four labelled rows, and reads headless
    encoders as well as classifiers.

    | input | shape |
    |---|---|
    | `LossContext.targets` | `[rows, outputs]`, NaN in rows without a label |
    | logits of the student | `[batch, outputs]` |

    Args:
        link: `"identity"` for numbers (mean squared error), `"logistic"` for 0/1 labels (divergence of the student's
            sigmoid from the predicted probability).
        strengths: ridge strengths to choose from by cross-fitting, each positive; features are scaled to a mean squared
            length of one.
        folds: of the cross-fitting, at least 2.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Ours; the ridge regression is that of Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal
        problems", Technometrics 12, 1970.

    Example:
        >>> from hf_ctkd import DistillationTrainer  # doctest: +SKIP
        >>> student = AutoModelForImageClassification.from_pretrained(
        ...     student_id, num_labels=1, problem_type="regression"
        ... )  # doctest: +SKIP
        >>> trainer = DistillationTrainer(
        ...     model=student, teachers=["google/vit-base-patch16-224"], loss=RegressionProbeLoss("identity"),
        ...     processing_class=processor, train_dataset=ages["train"], eval_dataset=ages["test"],
        ... )  # doctest: +SKIP
    """

    name: ClassVar[str] = "regression_probe"
    teaches_labels = True
    weight_meaning = "the share of the variance of the labels that probes on the teacher explain on rows held out (R2)"
    citation = (
        "Introduced with hf_ctkd, without a paper: squared error, or divergence, from cross-fitted ridge probes of the "
        "teachers' features."
    )
    needs = Needs.TEACHER | Needs.FEATURES | Needs.LAYERS | Needs.FIT | Needs.TARGETS
    bias: Tensor
    output_weights: Tensor
    teacher_gains: Tensor
    labelled_share: Tensor

    def __init__(
        self,
        link: str = "identity",
        *,
        strengths: tuple[float, ...] = (30.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01),
        folds: int = 5,
    ) -> None:
        super().__init__()
        if link not in ("identity", "logistic"):
            raise InvalidArgumentError(f"`link` must be 'identity' or 'logistic', got {link!r}.")
        if not strengths or min(strengths) <= 0:
            raise InvalidArgumentError(f"`strengths` must hold positive numbers, got {strengths}.")
        if folds < 2:
            raise InvalidArgumentError(f"`folds` must be at least 2, got {folds}.")
        self.link = link
        self.strengths = strengths
        self.folds = folds
        self.teacher_maps: list[str] = []
        for name in ("bias", "output_weights", "teacher_gains"):
            self.register_buffer(name, torch.zeros(0))
        self.register_buffer("labelled_share", torch.ones(()))

    def setup(self, context: LossContext) -> None:
        """Fit the probes on the labelled rows; see `DistillationLoss.setup`.

        Raises:
            InvalidArgumentError: without a teacher, or labels that are no numbers.
            DatasetError: if fewer than four rows have a label.
        """
        require_teachers(context, self.name)
        if context.targets is None:
            raise InvalidArgumentError(
                f"`loss` {type(self).__name__} needs labels as numbers, but the task has none. Use it for regression "
                "or multi-label classification."
            )
        labelled = (~context.targets.isnan().any(dim=1)).nonzero()[:, 0]
        if len(labelled) < _FEWEST_ROWS:
            raise DatasetError(
                f"`train_dataset` must have at least {_FEWEST_ROWS} labelled rows to fit probes on, got "
                f"{len(labelled)}. Label more rows."
            )
        targets = context.targets[labelled].double().cpu()
        probes = [self._fit(outputs.select(labelled), targets, context.seed) for outputs in context.teachers]
        self._average(probes, targets)
        self.labelled_share = torch.tensor(len(labelled) / len(context.targets))

    def _fit(self, outputs: ModelOutputs, targets: Float[Tensor, "labelled outputs"], seed: int) -> "list[_RidgeProbe]":
        check_outputs(outputs, Needs.FEATURES)
        return [
            _fit_ridge(view, targets, strengths=self.strengths, folds=self.folds, seed=seed) for view in views(outputs)
        ]

    def _average(self, probes: "list[list[_RidgeProbe]]", targets: Float[Tensor, "labelled outputs"]) -> None:
        """The weighted mean of all probes, as one linear map of each teacher's views side by side."""
        shares = gain_shares(torch.tensor([probe.gain for member in probes for probe in member]), _POWER).double()
        by_teacher = shares.split([len(member) for member in probes])
        means = torch.stack([probe.means for member in probes for probe in member])
        self.bias = torch.zeros(targets.shape[1])
        held_out, gains = torch.zeros_like(targets), []
        for number, (member, member_shares) in enumerate(zip(probes, by_teacher, strict=True)):
            mixture = sum(share * probe.held_out for share, probe in zip(member_shares, member, strict=True))
            held_out = held_out + mixture
            gains.append(float(_explained(mixture / member_shares.sum(), targets, means[0]).mean()))
            weight = [share * probe.weight for share, probe in zip(member_shares, member, strict=True)]
            self.register_buffer(f"map_{number}", torch.cat(weight).float())
            self.bias = (
                self.bias
                + sum(
                    (share * probe.bias for share, probe in zip(member_shares, member, strict=True)), torch.zeros(())
                ).float()
            )
        self.teacher_maps = [f"map_{number}" for number in range(len(probes))]
        self.teacher_gains = torch.tensor(gains)
        # Folds differ between views, and so do the means of a row's other folds; their average belongs to the mixture.
        self.output_weights = _explained(held_out, targets, (shares[:, None, None] * means).sum(dim=0)).float()

    @torch.no_grad()
    def predict(self, teachers: Sequence[ModelOutputs]) -> Float[Tensor, "rows outputs"]:
        """The labels that the probes predict.

        Args:
            teachers: outputs of each on the same rows.
        """
        total = self.bias
        for name, outputs in zip(self.teacher_maps, teachers, strict=True):
            features = torch.cat([view.float() for view in views(outputs)], dim=1)
            total = total + features @ self.get_buffer(name)
        return total.clamp(_CLIP, 1 - _CLIP) if self.link == "logistic" else total

    def row_targets(self, context: LossContext) -> Float[Tensor, "rows outputs"]:
        """Predictions of the probes for all training rows; see `DistillationLoss.row_targets`."""
        parts = zip(*(outputs.chunks(CHUNK_ROWS) for outputs in context.teachers), strict=True)
        device = self.bias.device
        return torch.cat([self.predict([outputs.to(device) for _, outputs in part]).cpu() for part in parts])

    def on_targets(
        self, student: ModelOutputs, targets: Float[Tensor, "batch outputs"], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `regression_probe`; see `DistillationLoss.on_targets`."""
        with torch.autocast(student.features.device.type, enabled=False):
            predicted = student_logits(student).float()
            if self.link == "logistic":
                # Minus its least value, the entropy of the target, so that a student that agrees has no loss.
                entropy = F.binary_cross_entropy(targets, targets, reduction="none")
                errors = F.binary_cross_entropy_with_logits(predicted, targets, reduction="none") - entropy
            else:
                errors = (predicted - targets).square()
            rows = row_weights(labels, self.labelled_share)
            return {self.name: (rows[:, None] * self.output_weights * errors).mean()}

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `regression_probe`; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            targets = self.predict(teachers)
        return self.on_targets(student, targets, labels)

    def strength(self) -> float:
        """Cross-fitted R2 of all teachers together, a mean over outputs."""
        return float(self.output_weights.mean()) if len(self.output_weights) else 0.0

    def weights(self) -> tuple[float, ...]:
        """Cross-fitted R2 of each teacher, a mean over outputs."""
        return tuple(self.teacher_gains.tolist())


@dataclass(frozen=True)
class _RidgeProbe:
    """A ridge regression from one view of a teacher, `view @ weight + bias`.

    Args:
        weight: of the features as they are.
        bias: of the outputs.
        held_out: predictions for the labelled rows, each by a probe that did not see the row.
        means: of the labels of the folds that each row is not in: what R2 compares with.
        gain: cross-fitted R2, clipped at 0, a mean over outputs.
    """

    weight: Float[Tensor, "width outputs"]
    bias: Float[Tensor, " outputs"]
    held_out: Float[Tensor, "labelled outputs"]
    means: Float[Tensor, "labelled outputs"]
    gain: float


def _fit_ridge(
    features: Float[Tensor, "labelled width"],
    targets: Float[Tensor, "labelled outputs"],
    *,
    strengths: tuple[float, ...],
    folds: int,
    seed: int,
) -> _RidgeProbe:
    basis = Basis.of(features.cpu())
    # Equal rows share a fold, or a copy would give the answer away; there are no classes to stratify by.
    fold = deal_folds(features.cpu().double(), torch.zeros(len(targets), dtype=torch.long), folds, seed)
    path = torch.empty(len(strengths), *targets.shape, dtype=torch.float64)
    means = torch.empty_like(targets)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        means[inside] = targets[~inside].mean(dim=0)
        for index, (weight, bias) in enumerate(_ridge_path(basis.rows[~inside], targets[~inside], strengths)):
            path[index, inside] = basis.rows[inside] @ weight + bias
    scale = targets.var(dim=0, correction=0).clamp_min(torch.finfo(torch.float64).tiny)
    errors = ((path - targets).square() / scale).mean(dim=2)  # [strengths, labelled]
    held_out = torch.empty_like(targets)
    for number in range(int(fold.max()) + 1):
        inside = fold == number
        # The strength for a row is chosen on the other folds, so that R2 is not flattered by the choice.
        held_out[inside] = path[int(errors[:, ~inside].sum(dim=1).argmin()), inside]
    best = strengths[int(errors.sum(dim=1).argmin())]
    weight, bias = _ridge_path(basis.rows, targets, (best,))[0]
    weight = (basis.axes @ weight) / basis.scale[:, None]
    return _RidgeProbe(
        weight, bias - basis.mean @ weight, held_out, means, float(_explained(held_out, targets, means).mean())
    )


def _ridge_path(
    rows: Float[Tensor, "rows rank"], targets: Float[Tensor, "rows outputs"], strengths: tuple[float, ...]
) -> list[tuple[Float[Tensor, "rank outputs"], Float[Tensor, " outputs"]]]:
    """Weight and bias for each strength: `(X'X + strength I) weight = X'Y` on centred rows and labels."""
    centre, mean = rows.mean(dim=0), targets.mean(dim=0)
    centred = rows - centre
    power, axes = torch.linalg.eigh(centred.T @ centred)
    moment = axes.T @ (centred.T @ (targets - mean))
    weights = [axes @ (moment / (power.clamp_min(0) + strength)[:, None]) for strength in strengths]
    return [(weight, mean - centre @ weight) for weight in weights]


def _explained(
    predicted: Float[Tensor, "labelled outputs"],
    targets: Float[Tensor, "labelled outputs"],
    means: Float[Tensor, "labelled outputs"],
) -> Float[Tensor, " outputs"]:
    """R2 of each output, clipped to [0, 1]; 0 for an output whose labels are all the same."""
    total = (targets - means).square().sum(dim=0)
    left = (targets - predicted).square().sum(dim=0)
    return torch.where(total > 0, 1 - left / total.clamp_min(torch.finfo(total.dtype).tiny), 0.0).clamp(0, 1)
