"""Optimal transport over tensors: batches of histograms, entropic and exact. Knows nothing of models."""

from hf_ctkd.ot.clouds import CloudProblem, CloudSinkhorn, CloudSolution
from hf_ctkd.ot.exact import exact
from hf_ctkd.ot.problem import OTProblem
from hf_ctkd.ot.sinkhorn import Sinkhorn
from hf_ctkd.ot.solution import OTSolution, Status

__all__ = ["CloudProblem", "CloudSinkhorn", "CloudSolution", "OTProblem", "OTSolution", "Sinkhorn", "Status", "exact"]
