import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import NLEEP
from hf_ctkd.metrics.base import canonical
from hf_ctkd.types import ModelOutputs


def _data(rows=90):
    labels = torch.arange(rows) % 3
    noise = torch.randn(rows, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return canonical(ModelOutputs(noise + 2 * torch.eye(3, 5)[labels]), labels)


def test_agrees_with_scikit_learn_and_loops():
    outputs, labels = _data()
    reduced = PCA(0.8, svd_solver="full").fit_transform(outputs.features.numpy())
    reduced /= np.sqrt((reduced**2).mean())
    mixture = GaussianMixture(6, covariance_type="diag", random_state=0, max_iter=200).fit(reduced)
    posterior = mixture.predict_proba(reduced)
    total = 0.0
    for i in range(90):
        predicted = 0.0
        for z in range(6):
            same = sum(posterior[j, z] for j in range(90) if labels[j] == labels[i])
            predicted += posterior[i, z] * same / posterior[:, z].sum()
        total += math.log(predicted) / 90
    assert NLEEP(clusters=2).score(outputs, labels) == pytest.approx(total)


def test_few_rows_get_few_clusters_and_repeated_rows_are_served():
    labels = torch.arange(12) % 3
    noise = torch.randn(12, 4, generator=torch.Generator().manual_seed(0))
    # One cluster a row would explain any labels.
    assert NLEEP().score(ModelOutputs(noise), labels) < -0.5
    prior = -math.log(3)
    assert NLEEP().score(ModelOutputs(torch.ones(12, 4)), labels) == pytest.approx(prior)


def test_bad_input_is_named():
    with pytest.raises(InvalidArgumentError, match="`clusters` must be at least 1, got 0"):
        NLEEP(clusters=0)
    with pytest.raises(InvalidArgumentError, match=r"`variance` must lie in \(0, 1\], got 0"):
        NLEEP(variance=0.0)
