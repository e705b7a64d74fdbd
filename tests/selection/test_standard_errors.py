import numpy as np
import pytest
import torch

from hf_ctkd.metrics import NearestNeighbour, TransferabilityMetric
from hf_ctkd.selection.standard_errors import REFITTED, HalfSample, error_from_halves, error_from_rows, half_size
from hf_ctkd.types import ModelOutputs, Needs


class Mean(TransferabilityMetric):
    """The mean of the first feature."""

    name = "mean"
    citation = "nobody"
    needs = Needs.FEATURES

    def of_rows(self, outputs, labels):
        return float(outputs.features[:, 0].mean())


def test_halves_estimate_the_standard_error():
    generator = torch.Generator().manual_seed(0)
    outputs = ModelOutputs(torch.randn(2000, 1, generator=generator))
    labels = torch.arange(2000) % 4
    scores = [HalfSample(Mean(), seed).score(outputs, labels) for seed in range(200)]
    assert half_size(labels) == 1000
    # The mean of 2,000 values of deviation 1 has a standard error of 0.0224; 200 draws tell it to about 5 %.
    assert error_from_halves(np.asarray(scores), labels) == pytest.approx(2000**-0.5, rel=0.15)
    # Of 25 rows 12 are in each half: the variance over halves is 13 / 12 of that of the mean of all of them.
    uneven = torch.tensor([0] * 20 + [1, 1] + [2] * 3)
    assert error_from_halves(np.asarray([0.0, 2.0]), uneven) == pytest.approx((2 * 12 / 13) ** 0.5)


def test_rows_tell_the_standard_error_of_a_cross_fitted_mean():
    values = np.random.default_rng(0).normal(3.0, 1.0, 2000)
    assert error_from_rows(values) == pytest.approx((REFITTED / 2000) ** 0.5, rel=0.05)
    assert pytest.approx(1 + 5 / (5 - 1)) == REFITTED  # five folds


def test_halves_are_the_same_rows_for_all_teachers_and_differ_by_seed():
    generator = torch.Generator().manual_seed(0)
    first = ModelOutputs(torch.randn(40, 2, generator=generator))
    labels = torch.arange(40) % 2
    shifted = ModelOutputs(first.features + 1)
    difference = [
        HalfSample(Mean(), s).score(shifted, labels) - HalfSample(Mean(), s).score(first, labels) for s in (0, 1)
    ]
    assert difference == pytest.approx([1.0, 1.0])
    assert HalfSample(Mean(), 0).score(first, labels) != HalfSample(Mean(), 1).score(first, labels)


def test_small_classes_keep_two_rows():
    labels = torch.tensor([0] * 20 + [1, 1] + [2] * 3)
    assert half_size(labels) == 12
    outputs = ModelOutputs(torch.randn(25, 3, generator=torch.Generator().manual_seed(0)))
    half = HalfSample(NearestNeighbour(), 3)
    assert 0 <= half.score(outputs, labels) <= 1
    assert half.name == "nearest_neighbour on half 3" and half.needs == NearestNeighbour.needs
