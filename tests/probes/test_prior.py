import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.probes import estimate_prior, refine_prior


def test_chance_differences_are_shrunk_away_and_clear_ones_kept():
    labels = torch.tensor([0] * 6 + [1] * 4 + [2] * 5 + [-100] * 50)
    prior, uncertainty = estimate_prior(labels, 3)
    assert prior.tolist() == pytest.approx([1 / 3] * 3)
    assert uncertainty.tolist() == pytest.approx([(1 / 3 * 2 / 3 / 16) ** 0.5] * 3)
    clear, _ = estimate_prior(torch.tensor([0] * 700 + [1] * 200 + [2] * 100), 3)
    assert clear.tolist() == pytest.approx([0.7, 0.2, 0.1], abs=0.01)


def test_shrinkage_beats_raw_counts_on_average():
    truth = torch.tensor([1.0, 1, 1, 1, 1, 0.2, 0.2, 0.2, 0.2, 0.2])
    truth /= truth.sum()
    generator = torch.Generator().manual_seed(0)
    shrunk = raw = 0.0
    for _ in range(50):
        labels = torch.multinomial(truth, 50, replacement=True, generator=generator)
        counts = torch.bincount(labels, minlength=10) / 50
        shrunk += float((estimate_prior(labels, 10).probabilities - truth).square().sum())
        raw += float((counts - truth).square().sum())
    assert shrunk < 0.9 * raw


def test_a_class_without_rows_keeps_some_mass():
    prior, _ = estimate_prior(torch.zeros(100, dtype=torch.long), 3)
    assert float(prior.min()) > 0 and float(prior.sum()) == pytest.approx(1)
    assert estimate_prior(torch.tensor([1]), 2).probabilities.tolist() == pytest.approx([0.25, 0.75])


def test_refined_prior_finds_the_shares_of_the_unlabelled_rows():
    truth = torch.tensor([0.8, 0.2])
    rows = torch.multinomial(truth, 4000, replacement=True, generator=torch.Generator().manual_seed(0))
    seen = torch.randn(4000, generator=torch.Generator().manual_seed(1)) + 2.0 * rows
    likelihood = torch.stack([-(seen**2) / 2, -((seen - 2) ** 2) / 2], dim=1).exp()
    prior = torch.tensor([0.5, 0.5])
    posterior = likelihood * prior / (likelihood * prior).sum(dim=1, keepdim=True)
    assert refine_prior(prior, posterior, strength=0.0).tolist() == pytest.approx([0.8, 0.2], abs=0.02)
    assert refine_prior(prior, posterior, strength=1e9).tolist() == pytest.approx([0.5, 0.5], abs=1e-4)


def test_bad_input_is_named():
    with pytest.raises(DatasetError, match="below 2"):
        estimate_prior(torch.tensor([0, 2]), 2)
    with pytest.raises(InvalidArgumentError, match="`strength` must not be negative"):
        refine_prior(torch.tensor([0.5, 0.5]), torch.tensor([[0.5, 0.5]]), strength=-1.0)
