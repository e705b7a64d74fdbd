import pytest
import torch

from hf_ctkd.metrics import NearestNeighbour
from hf_ctkd.types import ModelOutputs


def test_agrees_with_loops(monkeypatch):
    monkeypatch.setattr("hf_ctkd.metrics.nearest_neighbour._BLOCK", 7)
    features, labels = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    features += torch.eye(3, 5)[labels]
    centred = features - features.mean(dim=0)
    hits = 0
    for i in range(30):
        cosine = [float(torch.cosine_similarity(centred[i], centred[j], dim=0)) if i != j else -2 for j in range(30)]
        hits += int(labels[max(range(30), key=cosine.__getitem__)] == labels[i])
    assert NearestNeighbour().score(ModelOutputs(features), labels) == pytest.approx(hits / 30)


def test_copies_of_a_row_are_not_its_neighbours():
    generator = torch.Generator().manual_seed(0)
    features, labels = torch.randn(100, 64, generator=generator), torch.randint(0, 4, (100,), generator=generator)
    once = NearestNeighbour().score(ModelOutputs(features), labels)
    assert once < 0.4
    assert NearestNeighbour().score(ModelOutputs(features.repeat(3, 1)), labels.repeat(3)) == pytest.approx(once)
