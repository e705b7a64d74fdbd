"""What a solver hands back: values that can be trained on, and how far they are to be trusted."""

import enum
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from hf_ctkd.ot.plan import Plan


class Status(enum.IntEnum):
    """How the solver left a problem."""

    CONVERGED = 0
    """The marginal error is at most the tolerance."""
    OUT_OF_STEPS = 1
    """`max_steps` were not enough; value and potentials are those of the last step."""


@dataclass(frozen=True, eq=False)
class OTSolution:
    """The solution of every problem of a batch.

    `value` is the entropic optimum `min <plan, cost> + epsilon KL(plan | a b^T)`, where
    `KL(p | q) = sum p log(p / q) - p + q` is taken against the product of the marginals, so that it is 0 for
    independent marginals and `value` lies between the exact cost and the cost of the product plan. (The convention
    with the plain entropy, `sum plan log plan`, is lower by `epsilon (H(a) + H(b))`.) With `tau_a`, `tau_b` it also
    holds `tau_a KL(plan 1 | a) + tau_b KL(plan^T 1 | b)`. Its gradient comes from the potentials and the plan by the
    envelope theorem: train on `value`, never on `cost` (a plan held fixed has no gradient in the marginals).

    Args:
        value: the entropic optimum, `[batch]`; differentiable once in `a`, `b` and `cost`. With marginals that must be
            met, the gradient is that along the simplex: `f - <a, f>` and `g - <b, g>`. It is 0 at entries of zero mass.
        potentials: `(f, g)`, `[batch, n]` and `[batch, m]`, in units of the cost; the warm start of a next solve.
        marginal_error: L1 distance between the plan's marginals and the ones asked for, `[batch]`; where `tau` relaxes
            these, what is asked for at the optimum: `a exp(-f / tau_a)` and `b exp(-g / tau_b)`.
        steps: steps taken at the epsilon asked for, `[batch]`; those of the schedule on the way there are not counted.
        status: a `Status` each, `[batch]`.
        factors: the plans, held by their factors.
    """

    value: Float[Tensor, "batch"]
    potentials: tuple[Float[Tensor, "batch n"], Float[Tensor, "batch m"]]
    marginal_error: Float[Tensor, "batch"]
    steps: Int[Tensor, "batch"]
    status: Int[Tensor, "batch"]
    factors: Plan

    @cached_property
    def cost(self) -> Float[Tensor, "batch"]:
        """`<plan, cost>`, computed on first use; carries no gradient."""
        with torch.no_grad():
            return self.factors.transport_cost()

    @property
    def converged(self) -> Bool[Tensor, "batch"]:
        """Which problems met the tolerance."""
        return self.status == Status.CONVERGED

    def plan(self, rows: Shaped[Tensor, "rows"] | slice | None = None) -> Float[Tensor, "chosen n m"]:
        """Write out the plans `[batch, n, m]`, or those of some problems; they carry no gradient.

        Args:
            rows: which problems, by index, mask or slice; all when None.
        """
        with torch.no_grad():
            return self.factors.dense(slice(None) if rows is None else rows)
