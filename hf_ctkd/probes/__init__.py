"""Linear probes of frozen features: fitted, cross-fitted, joined, and how much each knows of the labels."""

from hf_ctkd.probes.layered import (
    LayeredProbe,
    cross_fit_layers,
    fit_layers,
    gain_shares,
    information_gain_of,
    log_mean,
    views,
)
from hf_ctkd.probes.prior import estimate_prior
from hf_ctkd.probes.probe import FittedProbe, LinearProbe

__all__ = [
    "FittedProbe",
    "LayeredProbe",
    "LinearProbe",
    "cross_fit_layers",
    "estimate_prior",
    "fit_layers",
    "gain_shares",
    "information_gain_of",
    "log_mean",
    "views",
]
