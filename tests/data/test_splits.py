import pytest
import torch
from datasets import Dataset

from hf_ctkd.data import TargetRows
from hf_ctkd.data.splits import held_out_rows, in_class_order, overlap, require_no_overlap
from hf_ctkd.errors import DatasetError, InvalidArgumentError


def rows_of(labels: list, texts: list[str] | None = None) -> TargetRows:
    texts = [f"text {number}" for number in range(len(labels))] if texts is None else texts
    return TargetRows.of(Dataset.from_dict({"text": texts, "label": labels}))


def held_out(rows: TargetRows, **changes) -> list[int]:
    settings = {"share": 0.2, "seed": 0, "stratify": True}
    return held_out_rows(rows, rows.labelled.tolist(), **{**settings, **changes})


def test_every_class_keeps_its_share_and_unlabelled_rows_stay():
    rows = rows_of([0] * 60 + [1] * 30 + [2] * 10 + [-1] * 40)
    chosen = held_out(rows)
    assert torch.bincount(rows.labels[chosen]).tolist() == [12, 6, 2]
    assert held_out(rows) == chosen == sorted(set(chosen))
    assert held_out(rows, seed=1) != chosen
    assert len(held_out(rows, share=0.5)) == 50


def test_two_rows_of_every_class_stay():
    rows = rows_of([0] * 20 + [1] * 3 + [2] * 2)
    for seed in range(5):
        chosen = held_out(rows, seed=seed, share=0.5)
        assert set(rows.labels[chosen].tolist()) == {0}
        assert set(rows.labels[held_out(rows, seed=seed)].tolist()) <= {0, 1}
    thin = rows_of(list(range(10)) * 3)
    chosen = held_out(thin)
    assert torch.bincount(thin.labels[chosen]).tolist() == [1] * 10
    assert held_out(rows_of([0, 0, 1, 1] * 2)) == []
    assert held_out(rows_of(list(range(6)) * 2)) == []


def test_a_row_that_occurs_twice_is_not_held_out():
    texts = [f"text {number // 2}" if number < 30 else f"text {number}" for number in range(40)]
    rows = rows_of([0, 1] * 20, texts)
    assert all(row >= 30 for row in held_out(rows))


def test_no_more_rows_than_narrow_an_interval():
    assert len(held_out(rows_of([0, 1] * 6000))) == 2000


def test_numbers_are_held_out_at_random():
    dataset = Dataset.from_dict({"text": list(map(str, range(20))), "score": [0.5] * 20})
    rows = TargetRows.with_raw_labels(dataset, rows_of([0, 1, 0, 1]).label_space, label_column="score")
    chosen = held_out_rows(rows, range(20), share=0.25, seed=0, stratify=False)
    assert len(chosen) == 5 and chosen != list(range(5))


@pytest.mark.parametrize("share", [0.0, 0.6, -1.0, float("nan")])
def test_a_share_out_of_range(share):
    with pytest.raises(InvalidArgumentError, match=r"`share` must lie in \(0, 0.5\], got"):
        held_out(rows_of([0, 1] * 10), share=share)


def test_rows_that_stand_in_both_are_counted_with_an_example():
    train = rows_of([0, 1, 0, 1], list("abca"))
    assert overlap(train, rows_of([0, 1], list("xy"))) is None
    both = overlap(train, rows_of([0, 1, 1], list("xac")))
    assert (both.count, both.evaluation_row, both.training_row) == (2, 1, 0)
    message = "2 evaluation rows are training rows too, such as evaluation row 1, which is training row 0. Do so."
    with pytest.raises(DatasetError, match=message):
        require_no_overlap(train, rows_of([0, 1, 1], list("xac")), "Do so.")
    assert str(overlap(train, rows_of([0, 1], list("xb")))).startswith("1 evaluation row is a training row too")


@pytest.mark.parametrize(
    ("labels", "ordered"),
    [
        ([0] * 50 + [1] * 50, True),
        (["b"] * 5 + ["a"] * 5, True),
        ([0] * 50 + [1] * 25 + [0] + [1] * 24, True),
        ([0, 1] * 50, False),
        ([0, 0, 1, 1, 0, 1, 1, 0] * 5, False),
        ([1] * 20, False),
    ],
)
def test_class_order_is_noticed(labels, ordered):
    assert in_class_order(labels) == ordered
