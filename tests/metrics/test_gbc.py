import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.metrics import GBC
from hf_ctkd.types import ModelOutputs


def test_is_the_overlap_of_densities_by_numerical_integration():
    labels = np.arange(60) % 3
    values = np.random.default_rng(0).normal(size=60) * (1 + labels) + 2 * labels
    expected = 0.0
    for i in range(3):
        for j in range(3):
            if i != j:
                p, q = (scipy.stats.norm(values[labels == k].mean(), values[labels == k].std()) for k in (i, j))
                expected -= scipy.integrate.quad(lambda x, p=p, q=q: np.sqrt(p.pdf(x) * q.pdf(x)), -30, 30)[0]
    outputs = ModelOutputs(torch.tensor(values)[:, None])
    assert GBC().score(outputs, torch.tensor(labels)) == pytest.approx(expected)


@pytest.mark.parametrize("spherical", [True, False])
def test_agrees_with_loops_over_covariances(spherical):
    labels = np.arange(40) % 2
    # Variances that differ by far make the principal axes those of the coordinates.
    features = np.random.default_rng(0).normal(size=(40, 3)) * [20.0, 4.0, 0.8]
    axes = np.linalg.svd(features - features.mean(0), full_matrices=False)[2]
    rotated = (features - features.mean(0)) @ axes.T
    means = [rotated[labels == k].mean(0) for k in range(2)]
    spreads = [rotated[labels == k].var(0) for k in range(2)]
    covariances = [np.eye(3) * s.mean() if spherical else np.diag(s) for s in spreads]
    middle = sum(covariances) / 2
    offset = means[0] - means[1]
    determinants = [np.linalg.det(one) for one in (*covariances, middle)]
    distance = offset @ np.linalg.inv(middle) @ offset / 8
    distance += 0.5 * np.log(determinants[2] / np.sqrt(determinants[0] * determinants[1]))
    score = GBC(spherical=spherical).score(ModelOutputs(torch.tensor(features)), torch.tensor(labels))
    assert score == pytest.approx(-2 * np.exp(-distance))


def test_a_class_of_one_row_and_constant_features_are_served():
    score = GBC().score(
        ModelOutputs(torch.randn(9, 4, generator=torch.Generator().manual_seed(0))), torch.arange(9) // 8
    )
    assert -2 <= score <= 0
    assert GBC().score(ModelOutputs(torch.ones(8, 3)), torch.arange(8) % 2) == pytest.approx(-2)
    with pytest.raises(InvalidArgumentError, match="`components` must be at least 1, got 0"):
        GBC(components=0)
