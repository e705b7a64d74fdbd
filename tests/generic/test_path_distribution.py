import math

import pytest
import torch
from pools import POOLS

from hf_ctkd.generic import PathDistribution, StudentPool

POOL = StudentPool("resnet", ((1,), (1,)), widths=((4,), (4, 8, 12)), input_size=8)
"""One decision that matters: the width of the second stage, the last of four."""


def probabilities(paths):
    return torch.tensor(paths.probabilities()["width of stage 2"])


@pytest.mark.parametrize("sampler", ["gumbel", "categorical", "uniform"])
def test_paths_are_drawn_as_often_as_their_probabilities_say(sampler):
    paths = PathDistribution(POOL, sampler=sampler)
    if sampler != "uniform":
        with torch.no_grad():
            paths.logits[3].copy_(torch.tensor([0.0, 1.0, 2.0]))
    drawn = torch.bincount(torch.tensor([paths.draw(seed).member.path[3] for seed in range(3000)]), minlength=3)
    # Four standard deviations of a share of 3000 draws are at most 0.037.
    torch.testing.assert_close(drawn / 3000, probabilities(paths), atol=0.037, rtol=0)


def test_a_seed_gives_one_path():
    paths = PathDistribution(POOLS["vit"])
    assert paths.draw(7).member == paths.draw(7).member
    assert len({paths.draw(seed).member.path for seed in range(20)}) > 10


def _mean_gradient(sampler, losses, temperature=1.0, draws=4000):
    paths = PathDistribution(POOL, sampler=sampler, temperature=temperature)
    baseline = losses.mean()
    for seed in range(draws):
        draw = paths.draw(seed)
        ((losses[draw.member.path[3]] - baseline) * draw.weight / draws).backward()
    return paths.logits[3].grad


def test_the_score_function_is_the_gradient_of_the_expected_loss():
    losses = torch.tensor([1.0, 2.0, 4.0])
    logits = torch.zeros(3, requires_grad=True)
    (logits.softmax(0) * losses).sum().backward()
    # A single draw's gradient has a standard deviation under 1.2, its mean over 4000 under 0.02.
    torch.testing.assert_close(_mean_gradient("categorical", losses), logits.grad, atol=0.06, rtol=0)


def test_the_relaxed_gates_prefer_the_better_path():
    gradient = _mean_gradient("gumbel", torch.tensor([1.0, 2.0, 4.0]))
    assert gradient[0] < gradient[1] < gradient[2] and gradient[0] < 0 < gradient[2]


def test_the_first_depth_is_left_alone_since_no_branch_has_it():
    paths = PathDistribution(POOLS["resnet"])
    assert [logits.requires_grad for logits in paths.logits] == [False, *[True] * 5]
    assert not any(logits.requires_grad for logits in PathDistribution(POOLS["resnet"], sampler="uniform").logits)
    assert not PathDistribution(POOLS["resnet"], sampler="uniform").draw(0).weight.requires_grad


def test_entropy_is_that_of_the_whole_path():
    paths = PathDistribution(POOL)
    assert float(paths.entropy().detach()) == pytest.approx(math.log(3)) == pytest.approx(paths.largest_entropy)
    with torch.no_grad():
        paths.logits[3].copy_(torch.tensor([50.0, 0.0, 0.0]))
    assert float(paths.entropy().detach()) == pytest.approx(0.0, abs=1e-6)
    assert list(paths.probabilities()) == [decision.name for decision in POOL.decisions]
