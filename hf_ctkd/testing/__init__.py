"""Contracts that any loss, metric, cost, task or solver must keep, third-party ones too; they need no test runner.

Example:
    >>> from hf_ctkd import ProbeLoss
    >>> check_loss(ProbeLoss, weighs_labelled_rows=True)
"""

from hf_ctkd.testing.costs import check_cost
from hf_ctkd.testing.losses import LossCase, OutputsInParts, check_loss
from hf_ctkd.testing.metrics import check_metric
from hf_ctkd.testing.solvers import check_solver
from hf_ctkd.testing.tasks import check_task

__all__ = ["LossCase", "OutputsInParts", "check_cost", "check_loss", "check_metric", "check_solver", "check_task"]
