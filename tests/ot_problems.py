"""Small problems of optimal transport, and as solvers take them."""

import torch

from hf_ctkd.ot import OTProblem
from hf_ctkd.ot.problem import PreparedProblem

INFINITE = float("inf")


def problem(shared=True, dtype=torch.float64):
    cost = torch.rand(*(() if shared else (3,)), 5, 4, dtype=dtype)
    a, b = (torch.softmax(torch.randn(3, size, dtype=dtype), -1) for size in (5, 4))
    return OTProblem(cost, a, b)


def prepared(given, epsilon=0.1, tau=INFINITE):
    return PreparedProblem.of(given, epsilon, tau_a=tau, tau_b=tau)
