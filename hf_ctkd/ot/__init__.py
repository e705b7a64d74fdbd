"""Optimal transport over tensors: batches of histograms, entropic and exact. Knows nothing of models."""

from hf_ctkd.ot.clouds import CloudProblem, CloudSinkhorn, CloudSolution
from hf_ctkd.ot.exact import exact
from hf_ctkd.ot.problem import OTProblem
from hf_ctkd.ot.row_transport import RowTransport, transport_rows
from hf_ctkd.ot.sinkhorn import Sinkhorn
from hf_ctkd.ot.solution import OTSolution, Status

__all__ = [
    "CloudProblem",
    "CloudSinkhorn",
    "CloudSolution",
    "OTProblem",
    "OTSolution",
    "RowTransport",
    "Sinkhorn",
    "Status",
    "exact",
    "transport_rows",
]
