"""Transferability metrics: how well a teacher suits a target task, as one number, higher being better."""

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.metrics.hscore import HScore
from hf_ctkd.metrics.leep import LEEP
from hf_ctkd.metrics.logme import LogME
from hf_ctkd.metrics.nce import NCE
from hf_ctkd.metrics.nearest_neighbour import NearestNeighbour
from hf_ctkd.metrics.readout_gain import ReadoutGain
from hf_ctkd.metrics.transport import TransportScore

__all__ = [
    "LEEP",
    "NCE",
    "HScore",
    "LogME",
    "NearestNeighbour",
    "ReadoutGain",
    "TransferabilityMetric",
    "TransportScore",
]
