"""Where a solver ended, and where the blocks of a batch put it together."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.ot.prepared import PreparedProblem


@dataclass(frozen=True, eq=False)
class Potentials:
    """Where a solver ended.

    Args:
        f: potential at the sources.
        g: potential at the targets, the best answer to `f`.
        error: L1 error of the marginals; NaN where the arithmetic gave out.
        steps: steps taken.
    """

    f: Float[Tensor, "batch n"]
    g: Float[Tensor, "batch m"]
    error: Float[Tensor, "batch"]
    steps: Int[Tensor, "batch"]


@dataclass(frozen=True, eq=False)
class Gathered:
    """The results of a batch, written block by block."""

    potentials: Potentials

    @classmethod
    def empty(cls, prepared: PreparedProblem) -> "Gathered":
        """Make room for every problem."""
        steps = torch.zeros(len(prepared.a), dtype=torch.int64, device=prepared.a.device)
        error = torch.full_like(prepared.epsilon, torch.nan)
        return cls(Potentials(torch.empty_like(prepared.a), torch.empty_like(prepared.b), error, steps))

    def write(self, rows: Int[Tensor, "rows"], found: Potentials) -> None:
        """Put the results of some problems in their place."""
        own = self.potentials
        own.f[rows], own.g[rows], own.error[rows], own.steps[rows] = found.f, found.g, found.error, found.steps

    def read(self, rows: Int[Tensor, "rows"]) -> Potentials:
        """Take the results of some problems."""
        own = self.potentials
        return Potentials(own.f[rows], own.g[rows], own.error[rows], own.steps[rows])

    def unfinished(self, tolerance: float, steps: int) -> Int[Tensor, "rows"]:
        """Find the problems whose arithmetic gave out, and those with steps left that are not yet done."""
        own = self.potentials
        return (own.error.isnan() | ((own.error > tolerance) & (own.steps < steps))).nonzero()[:, 0]

    def done(self) -> Potentials:
        """Hand over the results."""
        return self.potentials
