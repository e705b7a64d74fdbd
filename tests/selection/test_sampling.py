import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Value

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.selection.sampling import scoring_rows, stratified


def rows(labels: list[int]) -> TargetRows:
    features = Features({"text": Value("string"), "label": ClassLabel(num_classes=3)})
    texts = [f"row {number}" for number in range(len(labels))]
    return TargetRows.of(Dataset.from_dict({"text": texts, "label": labels}, features=features))


def test_only_labelled_rows_in_their_order():
    chosen = scoring_rows(rows([0, -1, 1, 1, -1, 0]), 100, 0)
    assert chosen.origin.tolist() == [0, 2, 3, 5]


def test_classes_keep_their_share_and_two_rows_at_least():
    labels = [0] * 80 + [1] * 18 + [2] * 2
    chosen = scoring_rows(rows(labels), 20, 0)
    assert torch.bincount(chosen.labels).tolist() == [15, 3, 2]
    assert chosen.origin.tolist() == sorted(chosen.origin.tolist())
    assert torch.bincount(scoring_rows(rows(labels), 6, 0).labels).tolist() == [2, 2, 2]


def test_the_seed_chooses():
    labels = torch.arange(3).repeat(50)
    draws = [tuple(stratified(labels, 30, seed).tolist()) for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("count", [6, 7, 50, 101, 150])
def test_exactly_as_many_as_asked_for(count):
    labels = torch.tensor([0] * 100 + [1] * 47 + [4] * 3)
    chosen = stratified(labels, count, 0)
    assert len(set(chosen.tolist())) == count
    assert torch.bincount(labels[chosen])[[0, 1, 4]].min() >= 2


def test_too_few_rows_are_refused():
    with pytest.raises(InvalidArgumentError, match="`max_rows` must be at least 6, two for each of 3 classes, got 5"):
        scoring_rows(rows([0, 0, 1, 1, 2, 2]), 5, 0)
    with pytest.raises(DatasetError, match="has a single labelled row"):
        scoring_rows(rows([0, 0, 1, 1, 2]), 100, 0)
