import inspect
import math

import ot
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from hf_ctkd.errors import InvalidArgumentError, NotConvergedError
from hf_ctkd.ot import transport_rows


def _log_posterior(rows=40, classes=4, seed=0, sharp=2.0):
    noise = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (sharp * noise).log_softmax(dim=1)


def _targets(transport, log_posterior):
    return ((log_posterior + transport.potential) / transport.epsilon).softmax(dim=1)


def test_targets_are_the_rows_of_the_optimal_plan():
    log_posterior, prior = _log_posterior(), torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    targets = _targets(transport_rows(log_posterior, prior, prior_strength=math.inf, tolerance=1e-10), log_posterior)
    rows = torch.full((40,), 1 / 40, dtype=torch.float64)
    plan = ot.sinkhorn(rows, prior, -log_posterior, reg=0.25, method="sinkhorn_log", stopThr=1e-12, numItermax=20000)
    assert torch.allclose(targets / 40, plan, atol=1e-8)


@pytest.mark.parametrize("strength", [1.0, 0.0])
def test_counts_are_a_prior_like_shares(strength):
    log_posterior, counts = _log_posterior().float(), torch.tensor([4, 3, 2, 1])
    found = transport_rows(log_posterior, counts, prior_strength=strength)
    expected = transport_rows(log_posterior, counts.float(), prior_strength=strength)
    assert torch.equal(found.potential, expected.potential)


def test_relaxed_targets_meet_the_optimality_condition():
    log_posterior, prior = _log_posterior(), torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    transport = transport_rows(log_posterior, prior, prior_strength=0.5, tolerance=1e-12)
    share = _targets(transport, log_posterior).mean(dim=0)
    # Derivative of relax * KL(share || prior), up to sign and a constant, is the potential.
    assert torch.allclose(-0.5 * (share / prior).log(), transport.potential, atol=1e-8)


def test_relax_goes_from_the_posteriors_own_shares_to_the_prior():
    log_posterior, prior = _log_posterior(), torch.tensor([0.7, 0.1, 0.1, 0.1], dtype=torch.float64)
    distance = [
        float(
            (_targets(transport_rows(log_posterior, prior, prior_strength=relax), log_posterior).mean(0) - prior)
            .abs()
            .sum()
        )
        for relax in (0.0, 0.1, 1.0, 10.0, math.inf)
    ]
    assert distance == sorted(distance, reverse=True) and distance[-1] < 1e-3
    free = transport_rows(log_posterior, prior, prior_strength=0.0)
    assert torch.equal(free.potential, torch.zeros_like(prior))


@pytest.mark.parametrize("prior_strength", [0.5, 20.0, math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_reported_error_is_the_true_one_whatever_the_precision_around(prior_strength, dtype):
    log_posterior, prior = _log_posterior(rows=500).to(dtype), torch.tensor([0.4, 0.3, 0.2, 0.1])
    with torch.autocast("cpu", torch.bfloat16):
        transport = transport_rows(log_posterior, prior, prior_strength=prior_strength, tolerance=1e-4)
    potential = transport.potential.double()
    share = ((log_posterior.double() + potential) / 0.25).softmax(dim=1).mean(dim=0)
    required = prior.double() * (-potential / prior_strength).exp()
    # The potential is rounded to float32.
    assert float((share - required).abs().sum()) == pytest.approx(transport.marginal_error, abs=2e-6)
    assert transport.marginal_error <= 1e-4


def test_rows_that_arrive_in_chunks_give_the_same_potential_in_few_passes():
    log_posterior, prior = _log_posterior(rows=500), torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    passes = []

    def chunks():
        passes.append(1)
        return iter(log_posterior.split([7, 400, 93]))

    whole = transport_rows(log_posterior, prior, prior_strength=2.0)
    in_chunks = transport_rows(chunks, prior, prior_strength=2.0)
    torch.testing.assert_close(in_chunks.potential, whole.potential)
    assert len(passes) == in_chunks.steps + 1 <= 15  # one to check the values


def test_memory_is_bounded_by_a_block_of_rows(monkeypatch):
    monkeypatch.setattr("hf_ctkd.ot.row_transport._BLOCK_BYTES", 4 * 8 * 100)
    sizes = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            views = {log_posterior.untyped_storage().data_ptr()}
            if torch.is_tensor(out) and out.untyped_storage().data_ptr() not in views:
                sizes.append(out.numel())
            return out

    log_posterior = _log_posterior(rows=4000, classes=8)
    with Watch():
        transport_rows(log_posterior, torch.full((8,), 1 / 8))
    assert max(sizes) <= 4000  # one number a row, not one a row and class


def test_many_steps_of_a_firm_prior_are_saved_by_its_common_level():
    """Damping alone moves the level by 1 / 400 of its distance in each step."""
    transport = transport_rows(_log_posterior(rows=200), torch.tensor([0.4, 0.3, 0.2, 0.1]), prior_strength=100.0)
    assert transport.steps < 40


def test_a_class_of_no_mass_gets_nothing_and_forbidden_cells_stay_empty():
    log_posterior = _log_posterior()
    log_posterior[0, 1] = -math.inf
    transport = transport_rows(
        log_posterior, torch.tensor([0.5, 0.5, 0.0, 0.0], dtype=torch.float64), prior_strength=math.inf
    )
    targets = _targets(transport, log_posterior)
    assert bool((targets[:, 2:] == 0).all()) and float(targets[0, 1]) == 0 and not bool(targets.isnan().any())
    assert targets.mean(dim=0)[:2].tolist() == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epsilon": 0.0}, "`epsilon` must be positive and finite"),
        ({"epsilon": math.inf}, "`epsilon` must be positive and finite"),
        ({"tolerance": 0.0}, "`tolerance` must be positive"),
        ({"prior": torch.ones(3)}, r"`prior` must have one share for each class of `log_posterior` .*, got 3"),
        ({"prior": torch.ones(1, 2)}, r"`prior` must have one share for each class, `\[classes\]`, got \[1, 2\]"),
        ({"prior_strength": -1.0}, "`prior_strength` must not be negative"),
        ({"prior_strength": 1e300}, r"`prior_strength` must be between 1e-12 and 1e\+12, or infinite"),
        ({"log_posterior": torch.tensor([[0.0, math.inf]])}, "without NaN or positive infinity"),
        ({"log_posterior": torch.zeros(0, 2)}, "at least one row"),
        ({"log_posterior": torch.full((1, 2), -math.inf)}, "at least one possible class"),
        ({"log_posterior": lambda: iter([torch.zeros(2, 2), torch.full((1, 2), math.nan)])}, "without NaN"),
        (
            {"log_posterior": torch.tensor([[0.0, -math.inf]]), "prior_strength": math.inf},
            "forbids class 1 to every row, .* pass a finite `prior_strength`",
        ),
        ({"prior": torch.tensor([1.0, -1.0])}, "`prior` must hold finite shares"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"log_posterior": torch.zeros(3, 2), "prior": torch.tensor([0.5, 0.5]), **change}
    with pytest.raises(InvalidArgumentError, match=message):
        transport_rows(**arguments)


def test_says_when_it_did_not_converge():
    with pytest.raises(NotConvergedError, match="after 1 steps.*Increase `max_steps`"):
        transport_rows(_log_posterior(), torch.tensor([0.97, 0.01, 0.01, 0.01], dtype=torch.float64), max_steps=1)


@pytest.mark.parametrize(
    ("log_posterior", "prior", "message"),
    [
        ([[0.0, 1.0]], torch.ones(2), "`log_posterior` must be a torch tensor, got list. Convert it"),
        (torch.zeros(3, 2), [0.5, 0.5], "`prior` must be a torch tensor, got list. Convert it"),
        (torch.zeros(3), torch.ones(3), r"`log_posterior` must have two dimensions, `\[rows, classes\]`, got \[3\]"),
    ],
)
def test_what_is_no_tensor_of_rows_is_refused_in_words(log_posterior, prior, message):
    unchecked = inspect.unwrap(transport_rows)  # as users call it, without the type checks of these tests
    with pytest.raises(InvalidArgumentError, match=message):
        unchecked(log_posterior, prior)
