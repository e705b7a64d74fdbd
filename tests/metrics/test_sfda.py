import numpy as np
import pytest
import scipy.linalg
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import SFDA
from hf_ctkd.types import ModelOutputs


def _posterior(features, labels, shrinkage):
    """By the projection that the analysis is known for: generalised eigenvectors, then nearest class in them."""
    overall, within, between = features.mean(0), 0.0, 0.0
    for k in range(3):
        rows = features[labels == k]
        offset = rows.mean(0) - overall
        within = within + (rows - rows.mean(0)).T @ (rows - rows.mean(0)) / len(features)
        between = between + len(rows) / len(features) * np.outer(offset, offset)
    if shrinkage is None:
        shrinkage = np.exp(-5 * np.linalg.eigvalsh(within).max())
    covariance = shrinkage * np.eye(features.shape[1]) + (1 - shrinkage) * within
    axes = scipy.linalg.eigh(between, covariance)[1][:, -2:]
    projected = features @ axes
    scores = np.empty((len(features), 3))
    for k in range(3):
        distance = ((projected - projected[labels == k].mean(0)) ** 2).sum(1)
        scores[:, k] = np.log((labels == k).mean()) - distance / 2
    return scores - np.logaddexp.reduce(scores, axis=1, keepdims=True), shrinkage


def test_agrees_with_generalised_eigenvectors():
    labels = np.repeat([0, 1, 2], [15, 20, 25])
    features = 0.4 * np.random.default_rng(0).normal(size=(60, 6)) + 0.5 * np.eye(3, 6)[labels]
    # The metric's unit: a mean variance of one.
    standard = (features - features.mean(0)) / (features - features.mean(0)).std()
    first, shrinkage = _posterior(standard, labels, None)
    mixed = standard.copy()
    for i in range(60):
        sure = np.exp(first[i, labels[i]])
        mixed[i] = sure * standard[i] + (1 - sure) * standard[labels != labels[i]].mean(0)
    second, _ = _posterior(mixed, labels, shrinkage)
    expected = second[np.arange(60), labels].mean()
    assert SFDA().score(ModelOutputs(torch.tensor(features)), torch.tensor(labels)) == pytest.approx(expected)


def test_few_rows_are_served_and_bad_input_is_named():
    wide = torch.randn(10, 50, generator=torch.Generator().manual_seed(0))
    assert SFDA().score(ModelOutputs(wide), torch.arange(10) % 2) <= 0
    with pytest.raises(InvalidArgumentError, match="`strength` must be positive, got 0"):
        SFDA(strength=0.0)
