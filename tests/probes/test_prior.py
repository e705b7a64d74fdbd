import pytest
import torch

from hf_ctkd.errors import DatasetError
from hf_ctkd.probes import estimate_prior


def test_chance_differences_are_shrunk_away_and_clear_ones_kept():
    labels = torch.tensor([0] * 6 + [1] * 4 + [2] * 5 + [-100] * 50)
    prior = estimate_prior(labels, 3)
    assert prior.tolist() == pytest.approx([1 / 3] * 3)
    clear = estimate_prior(torch.tensor([0] * 700 + [1] * 200 + [2] * 100), 3)
    assert clear.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_shrinkage_beats_raw_counts_on_average():
    truth = torch.tensor([1.0, 1, 1, 1, 1, 0.2, 0.2, 0.2, 0.2, 0.2])
    truth /= truth.sum()
    generator = torch.Generator().manual_seed(0)
    shrunk = raw = 0.0
    for _ in range(50):
        labels = torch.multinomial(truth, 50, replacement=True, generator=generator)
        counts = torch.bincount(labels, minlength=10) / 50
        shrunk += float((estimate_prior(labels, 10) - truth).square().sum())
        raw += float((counts - truth).square().sum())
    assert shrunk < 0.9 * raw


def test_a_class_without_rows_keeps_some_mass():
    prior = estimate_prior(torch.zeros(100, dtype=torch.long), 3)
    assert float(prior.min()) > 0 and float(prior.sum()) == pytest.approx(1)
    assert estimate_prior(torch.tensor([1]), 2).tolist() == pytest.approx([0.25, 0.75])


def test_bad_input_is_named():
    with pytest.raises(DatasetError, match="below 2"):
        estimate_prior(torch.tensor([0, 2]), 2)
