import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf

from hf_ctkd.metrics import HScore
from hf_ctkd.types import ModelOutputs


def test_agrees_with_the_formula_in_numpy():
    labels = np.arange(40) % 4
    features = np.random.default_rng(0).normal(size=(40, 6)) + np.eye(4, 6)[labels]
    fit = LedoitWolf().fit(features)
    between = np.zeros((6, 6))
    for k in range(4):
        offset = features[labels == k].mean(0) - features.mean(0)
        between += (labels == k).mean() * np.outer(offset, offset)
    expected = (1 - fit.shrinkage_) * np.trace(np.linalg.inv(fit.covariance_) @ between)
    score = HScore().score(ModelOutputs(torch.tensor(features)), torch.tensor(labels))
    assert score == pytest.approx(expected)


def test_features_wider_than_rows_and_constant_features_are_served():
    labels = torch.arange(10) % 2
    wide = torch.randn(10, 200, generator=torch.Generator().manual_seed(0))
    assert 0 <= HScore().score(ModelOutputs(wide), labels) < 1
    assert HScore().score(ModelOutputs(torch.ones(10, 3)), labels) == 0.0
