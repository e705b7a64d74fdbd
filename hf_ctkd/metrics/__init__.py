"""Transferability metrics: how well a teacher suits a target task, as one number, higher being better."""

from hf_ctkd.metrics.base import TransferabilityMetric
from hf_ctkd.metrics.fotce import FOTCE
from hf_ctkd.metrics.gbc import GBC
from hf_ctkd.metrics.hscore import HScore
from hf_ctkd.metrics.information_gain import InformationGain
from hf_ctkd.metrics.leep import LEEP
from hf_ctkd.metrics.logme import LogME
from hf_ctkd.metrics.nce import NCE
from hf_ctkd.metrics.nearest_neighbour import NearestNeighbour
from hf_ctkd.metrics.nleep import NLEEP
from hf_ctkd.metrics.otce import OTCE
from hf_ctkd.metrics.pactran import PACTran
from hf_ctkd.metrics.parc import PARC
from hf_ctkd.metrics.sfda import SFDA
from hf_ctkd.metrics.transport import TransportScore
from hf_ctkd.metrics.transrate import TransRate

__all__ = [
    "FOTCE",
    "GBC",
    "LEEP",
    "NCE",
    "NLEEP",
    "OTCE",
    "PARC",
    "SFDA",
    "HScore",
    "LogME",
    "NearestNeighbour",
    "PACTran",
    "InformationGain",
    "TransRate",
    "TransferabilityMetric",
    "TransportScore",
]
