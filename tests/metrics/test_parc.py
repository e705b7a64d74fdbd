import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import PARC
from hf_ctkd.types import ModelOutputs


def test_agrees_with_scipy():
    labels = np.arange(40) % 4
    features = np.random.default_rng(0).normal(size=(40, 9)) + 2 * np.eye(4, 9)[labels]
    reduced = PCA(5, svd_solver="full").fit_transform(features)
    upper = np.triu_indices(40, 1)
    ours, theirs = (1 - np.corrcoef(rows)[upper] for rows in (reduced, np.eye(4)[labels]))
    expected = 100 * spearmanr(np.round(ours, 12), np.round(theirs, 12)).statistic
    score = PARC(components=5).score(ModelOutputs(torch.tensor(features)), torch.tensor(labels))
    assert score == pytest.approx(expected)


def test_many_rows_are_thinned_evenly(monkeypatch):
    labels = torch.arange(400) % 4
    noise = torch.randn(400, 9, generator=torch.Generator().manual_seed(0))
    outputs = ModelOutputs(noise + 2 * torch.eye(4, 9)[labels])
    whole = PARC().score(outputs, labels)
    monkeypatch.setattr("hf_ctkd.metrics.parc._MOST_ROWS", 200)
    part = PARC().score(outputs, labels)
    assert part != whole and part == pytest.approx(whole, abs=5)


def test_constant_features_score_nothing_and_bad_input_is_named():
    assert PARC().score(ModelOutputs(torch.ones(8, 5)), torch.arange(8) % 2) == 0
    with pytest.raises(InvalidArgumentError, match="`components` must be at least 3, got 2"):
        PARC(components=2)
