import math

import pytest
import torch
from sklearn.metrics import mutual_info_score

from hf_ctkd.costs import joint, relatedness
from hf_ctkd.errors import InvalidArgumentError


def _predictions(rows, classes, *, seed, sharp=1.0):
    noise = torch.randn(rows, classes, generator=torch.Generator().manual_seed(seed))
    return (sharp * noise).softmax(dim=1)


def test_joint_agrees_with_loops_and_ignores_unlabelled_rows():
    probabilities = _predictions(6, 3, seed=0)
    labels = torch.tensor([0, 1, -100, 1, 0, 1])
    expected = torch.zeros(2, 3, dtype=torch.float64)
    for i in (0, 1, 3, 4, 5):
        expected[labels[i]] += probabilities[i].double() / 5
    table = joint(probabilities, labels, 2)
    assert torch.allclose(table, expected) and float(table.sum()) == pytest.approx(1)


def test_relatedness_agrees_with_leaving_each_row_out_by_a_loop():
    probabilities, labels = _predictions(15, 4, seed=1, sharp=3).double(), torch.arange(15) % 3
    ours = theirs = 0.0
    for i in range(15):
        rest = [j for j in range(15) if j != i]
        prior = [(sum(int(labels[j]) == v for j in rest) + 0.5) / (14 + 1.5) for v in range(3)]
        y = int(labels[i])
        q = 0.0
        for u in range(4):
            here = sum(float(probabilities[j, u]) for j in rest if int(labels[j]) == y)
            mass = sum(float(probabilities[j, u]) for j in rest)
            q += float(probabilities[i, u]) * (here + 0.7 * prior[y]) / (mass + 0.7)
        ours += math.log(q)
        theirs += math.log(prior[y])
    assert relatedness(probabilities, labels, 3, smoothing=0.7) == pytest.approx(max(0.0, 1 - ours / theirs))


def test_relatedness_is_not_fooled_by_few_rows_where_mutual_information_is():
    labels = torch.arange(40) % 10
    fooled, honest = [], []
    for seed in range(10):
        guesses = torch.eye(30)[torch.randint(0, 30, (40,), generator=torch.Generator().manual_seed(seed))]
        fooled.append(mutual_info_score(labels, guesses.argmax(1)) / math.log(10))
        honest.append(relatedness(guesses, labels, 10))
    assert min(fooled) > 0.5
    assert max(honest) < 0.05


def test_relatedness_orders_teachers():
    labels = torch.arange(60) % 10
    exact = relatedness(torch.eye(10)[labels], labels, 10)
    pairs = relatedness(torch.eye(5)[labels // 2], labels, 10)
    parity = relatedness(torch.eye(2)[labels % 2], labels, 10)
    assert exact > 0.7 > pairs > 0.4 > parity > 0.15


def test_smoothing_must_be_positive():
    with pytest.raises(InvalidArgumentError, match="`smoothing` must be positive"):
        relatedness(torch.eye(2), torch.tensor([0, 1]), 2, smoothing=0.0)
