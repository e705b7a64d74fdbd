"""Training rows whose teacher outputs are NaN or infinite: the distillation loss leaves them out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers.utils.logging import get_logger

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers import StoredOutputs, finite_rows_of
from hf_ctkd.types import ModelOutputs, RowOutputs

logger = get_logger(__name__)

ROWS = "distilled"
"""Key of a batch that holds the positions of its rows with finite outputs, where these are not all."""


@dataclass(frozen=True, eq=False)
class OutputsOfRows(RowOutputs):
    """A model's outputs for some rows of a data set, which are read as they are selected.

    Args:
        outputs: of all rows.
        rows: indices of the rows, in any order and as often as needed.
    """

    outputs: RowOutputs
    rows: Int[Tensor, " rows"]

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.rows)

    def select(self, rows: Tensor) -> ModelOutputs:
        """The outputs of some rows, by index or mask, on the CPU; see `RowOutputs.select`."""
        return self.outputs.select(self.rows[rows.cpu()])


@dataclass(frozen=True, eq=False)
class FiniteRows:
    """The training rows for which every teacher has finite outputs; the distillation loss reads no others.

    A row that one of several teachers has no finite outputs for is left out for all of them. The loss is set up with
    the remaining rows, and its terms in a step are means over all rows, in which a row left out has no weight. The task
    loss reads every row.

    Args:
        numbers: of the rows with finite outputs; None where these are all rows.
        stand_ins: `[rows]`, for each row its index in `numbers`, for a row left out that of another one: what is read
            of a row is then finite whatever its weight, as zero times NaN is NaN.
        remarks: which teacher has how many rows left out, for the card.
    """

    numbers: Int[Tensor, " finite"] | None = None
    stand_ins: Int[Tensor, " rows"] | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        outputs: Sequence[ModelOutputs | StoredOutputs],
        names: Sequence[str],
        *,
        left_out_of: str = "the distillation loss",
    ) -> "FiniteRows":
        """The rows for which all outputs are finite; a warning in the log counts the others for each teacher.

        Args:
            outputs: of each teacher over all training rows, as `compute_outputs` returns them.
            names: of the teachers.
            left_out_of: what reads only these rows, for the remarks.

        Raises:
            TeacherUnavailableError: if no row is left.
        """
        masks = [finite_rows_of(part) for part in outputs]
        if all(mask.all() for mask in masks):
            return cls()
        finite = torch.stack(masks).all(dim=0)
        remarks = tuple(
            f"The outputs of {name} are NaN or infinite for {int((~mask).sum())} of {len(mask)} training rows, which "
            f"were left out of {left_out_of}."
            for name, mask in zip(names, masks, strict=True)
            if not mask.all()
        )
        for remark in remarks:
            logger.warning(remark)
        if not finite.any():
            raise TeacherUnavailableError(
                f"No training row has finite outputs of all teachers: {', '.join(names)}. Leave one of them out.",
                ProblemCode.NOT_FINITE,
            )
        return cls(finite.nonzero()[:, 0], (finite.cumsum(dim=0) - 1).clamp_min(0), remarks)

    def select(self, rows: TargetRows) -> TargetRows:
        """The training rows that the loss is set up with."""
        return rows if self.numbers is None else rows.select(self.numbers.tolist())

    def outputs(self, teachers: Sequence[RowOutputs]) -> tuple[RowOutputs, ...]:
        """The outputs of each teacher for these rows."""
        numbers = self.numbers
        return tuple(teachers) if numbers is None else tuple(OutputsOfRows(part, numbers) for part in teachers)

    def with_stand_ins(self, teachers: Sequence[RowOutputs]) -> tuple[RowOutputs, ...]:
        """The outputs of each teacher for all rows, those of another row where they are not finite."""
        if self.numbers is None or self.stand_ins is None:
            return tuple(teachers)
        numbers = self.numbers[self.stand_ins]
        return tuple(OutputsOfRows(part, numbers) for part in teachers)

    def targets(self, targets: Float[Tensor, "finite width"]) -> Float[Tensor, "rows width"]:
        """Targets of all rows from those of these rows, with those of another row for a row left out."""
        return targets if self.stand_ins is None else targets[self.stand_ins.to(targets.device)]

    def in_batch(self, numbers: Int[Tensor, " batch"]) -> dict[str, Tensor]:
        """What a batch holds of them: under `ROWS` their positions in it; nothing where these are all its rows.

        Args:
            numbers: of its rows, on the CPU.
        """
        if self.numbers is None:
            return {}
        finite = torch.isin(numbers, self.numbers)
        return {} if finite.all() else {ROWS: finite.nonzero()[:, 0]}


def distilled(batch: Mapping[str, Any]) -> tuple[Tensor | None, float]:
    """Positions of the rows of a batch that the loss reads, None for all, and their share of the batch.

    Where none is left the loss reads all rows, with the weight 0: a process of several must give a gradient of every
    parameter.

    Args:
        batch: from the collator.
    """
    rows = batch.get(ROWS)
    if rows is None:
        return None, 1.0
    return (rows if len(rows) else None), len(rows) / len(batch["numbers"])
