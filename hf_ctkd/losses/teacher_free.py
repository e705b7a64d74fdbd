"""What the student's own input says of the classes, without any teacher: the control that a teacher has to beat."""

from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from hf_ctkd.losses.base import DistillationLoss
from hf_ctkd.losses.rows_onto_classes import RowsOntoClasses, check_ranges
from hf_ctkd.probes import LinearProbe
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.types import LossContext, ModelOutputs, Needs


class TeacherFreeLoss(DistillationLoss):
    """`TransportLoss` with nobody to read but the student's own input: its pixels, or its tokens weighted by rarity.

    Use it beside every student that a teacher taught: both have the same labels, unlabelled rows and class shares, so
    that what the teacher brought is the difference. It needs no teacher, and where labels are few it is a strong
    baseline. It needs at least two labelled rows a class.

    Args:
        probe: how the probe is fitted.
        epsilon: as in `TransportLoss`.
        power: as in `TransportLoss`.
        relax: as in `TransportLoss`.
        own: as in `TransportLoss`.
        rounds: as in `TransportLoss`.

    Raises:
        InvalidArgumentError: an argument out of its range.

    Reference:
        Ours: a control.
    """

    name: ClassVar[str] = "input_features"
    citation: ClassVar[str] = "Ours (hf_ctkd): a control without a teacher"
    needs = Needs.FIT | Needs.INPUT

    def __init__(
        self,
        probe: LinearProbe = LinearProbe(),  # noqa: B008 (frozen)
        *,
        epsilon: float = 0.25,
        power: float = 1.0,
        relax: float = 4.0,
        own: float = 0.7,
        rounds: int = 2,
    ) -> None:
        super().__init__()
        check_ranges(epsilon, power, relax, own, rounds)
        self.probe = probe
        self.epsilon, self.power, self.relax, self.own, self.rounds = epsilon, power, relax, own, rounds
        self.term = RowsOntoClasses(
            ProbeEnsemble(probe, input_features=True), epsilon=epsilon, power=power, relax=relax, own=own, rounds=rounds
        )

    def setup(self, context: LossContext) -> None:
        """Fit the probe and the class shares on the training rows; see `DistillationLoss.setup`."""
        self.term.fit(replace(context, teachers=()))

    def after_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """How far student and targets agreed; see `DistillationLoss.after_step`."""
        self.term.after_step(total)

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The term `input_features`; teachers are not looked at; see `DistillationLoss.forward`."""
        with torch.autocast(student.features.device.type, enabled=False):
            return {self.name: self.term(student, (), labels)}

    def strength(self) -> float:
        """Cross-fitted gain of the probe."""
        return float(self.term.probes.weight)

    def input_share(self) -> float:
        """All of it."""
        return 1.0

    def diagnostics(self) -> dict[str, float]:
        """Cross-fitted gain of the probe."""
        return {"input_gain": float(self.term.probes.weight)}
