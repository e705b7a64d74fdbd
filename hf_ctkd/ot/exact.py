"""Exact optimal transport through POT's network simplex: the reference that approximate solvers are held to."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hf_ctkd.errors import NotConvergedError
from hf_ctkd.ot.problem import OTProblem


def exact(problem: OTProblem, *, max_steps: int = 1_000_000) -> Float[Tensor, "batch"]:
    """Find the least transport cost of every problem, without regularisation, by the network simplex.

    Use it to judge an approximate solver or a handful of small problems; it runs on one core, one problem at a time,
    and carries no gradient.

    Args:
        problem: the costs and marginals.
        max_steps: pivots allowed for each problem.

    Raises:
        NotConvergedError: if the simplex needs more than `max_steps`.

    Reference:
        Bonneel et al., "Displacement interpolation using Lagrangian mass transport", 2011; Flamary et al., "POT:
        Python Optimal Transport", 2021.

    Example:
        >>> import torch
        >>> from hf_ctkd.ot import OTProblem, exact
        >>> cost = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        >>> exact(OTProblem(cost, torch.tensor([[0.5, 0.5]]), torch.tensor([[0.25, 0.75]])))
        tensor([0.2500])
    """
    import ot  # the one function that needs POT: the solvers run on machines that lack it

    costs = problem.cost.detach().double().cpu().numpy()
    values = []
    for row, (a, b) in enumerate(zip(_histograms(problem.a), _histograms(problem.b), strict=True)):
        cost = np.ascontiguousarray(costs if problem.shared else costs[row])
        value, log = ot.emd2(a, b, cost, numItermax=max_steps, log=True)
        if log["warning"] is not None:
            raise NotConvergedError(f"The exact solver failed on problem {row}: {log['warning']} Increase `max_steps`.")
        values.append(float(value))
    return torch.tensor(values, dtype=problem.dtype, device=problem.cost.device)


def _histograms(mass: Tensor) -> np.ndarray:
    histograms = mass.detach().double().cpu()
    return (histograms / histograms.sum(-1, keepdim=True)).numpy()
