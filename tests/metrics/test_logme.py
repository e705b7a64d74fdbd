import math

import numpy as np
import pytest
import scipy.optimize
import torch

from hf_ctkd.metrics import LogME
from hf_ctkd.types import ModelOutputs


def _log_density(features, target, alpha, beta):
    """Marginal density of the target itself: a Gaussian with covariance I / beta + F F^T / alpha."""
    covariance = np.eye(len(target)) / beta + features @ features.T / alpha
    _, logdet = np.linalg.slogdet(covariance)
    return -0.5 * (len(target) * math.log(2 * math.pi) + logdet + target @ np.linalg.solve(covariance, target))


@pytest.mark.parametrize("width", [3, 30])
def test_agrees_with_a_brute_force_grid_over_both_precisions(width):
    labels = np.arange(24) % 2
    features = np.random.default_rng(0).normal(size=(24, width)) + 0.8 * labels[:, None]
    per_class = []
    for k in range(2):
        target = (labels == k).astype(float)
        grid = np.linspace(-7, 9, 20)
        start = max(((a, b) for a in grid for b in grid), key=lambda at: _log_density(features, target, *np.exp(at)))
        peak = scipy.optimize.minimize(lambda at, y=target: -_log_density(features, y, *np.exp(at)), start, tol=1e-8)
        per_class.append(-peak.fun)
    score = LogME().score(ModelOutputs(torch.tensor(features)), torch.tensor(labels))
    assert score == pytest.approx(sum(per_class) / 2 / 24, abs=1e-5)


def test_a_perfect_fit_and_constant_features_stay_finite():
    labels = torch.arange(20) % 2
    assert math.isfinite(LogME().score(ModelOutputs(torch.eye(2)[labels]), labels))
    assert math.isfinite(LogME().score(ModelOutputs(torch.zeros(20, 3)), labels))
