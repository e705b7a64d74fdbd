import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.probes.labelled import (
    check_labels,
    check_outputs,
    content_order,
    deal_folds,
    fitting_rows,
    labelled_rows,
    logits_of,
    row_groups,
)
from hf_ctkd.types import UNLABELLED, ModelOutputs, Needs


def test_only_labelled_rows_stay_in_their_order():
    outputs = ModelOutputs(torch.arange(4.0)[:, None], torch.arange(8.0).view(4, 2))
    chosen, labels = labelled_rows(outputs, torch.tensor([1, -100, 0, -100], dtype=torch.int32))
    assert chosen.features[:, 0].tolist() == [0.0, 2.0] and logits_of(chosen)[:, 0].tolist() == [0.0, 4.0]
    assert labels.tolist() == [1, 0] and labels.dtype == torch.int64


def test_numbers_of_rows_must_agree():
    with pytest.raises(
        InvalidArgumentError, match="`labels` must have one entry a row of `outputs`, got 3 labels for 4"
    ):
        labelled_rows(ModelOutputs(torch.zeros(4, 1)), torch.zeros(3, dtype=torch.long))


def test_a_headless_model_is_refused_only_where_logits_are_read():
    headless = ModelOutputs(torch.zeros(2, 1))
    check_outputs(headless, Needs.FEATURES)
    for read in (lambda: check_outputs(headless, Needs.LOGITS | Needs.FEATURES), lambda: logits_of(headless)):
        with pytest.raises(
            InvalidArgumentError, match="`outputs` has no logits, as its model has no head. Use a method"
        ):
            read()


@pytest.mark.parametrize("part", ["features", "logits", "layers"])
def test_the_row_that_is_no_number_is_named(part):
    spoiled = torch.zeros(3, 2)
    spoiled[1, 1] = float("inf")
    values = {"features": torch.zeros(3, 2), part: (spoiled,) if part == "layers" else spoiled}
    with pytest.raises(InvalidArgumentError, match=rf"`{part}.*` must be finite, but row 1 holds NaN or infinity"):
        check_outputs(ModelOutputs(**values), Needs.NOTHING)


def test_values_of_unlabelled_rows_are_nobody_s_business():
    features = torch.tensor([[1.0], [float("nan")]])
    chosen, _ = labelled_rows(ModelOutputs(features), torch.tensor([0, -100]))
    assert chosen.features.tolist() == [[1.0]]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "No row has a label"),
        ([0, -1], r"Labels must be at least 0 and below 2, or -100 .*, got -1"),
        ([0, 2], r"got 2. Map them to consecutive class ids"),
    ],
)
def test_labels_out_of_range_are_refused(labels, message):
    with pytest.raises(DatasetError, match=message):
        check_labels(torch.tensor(labels, dtype=torch.long), 2)


def test_order_follows_from_content_alone():
    values, labels = torch.randn(30, 4), torch.arange(30) % 3
    order = content_order(values, labels)
    shuffle, names = torch.randperm(30), torch.tensor([2, 0, 1])
    again = content_order(values[shuffle], names[labels[shuffle]])
    assert torch.equal(values[order], values[shuffle][again])
    assert len(torch.unique_consecutive(labels[order])) == 3
    assert not torch.equal(content_order(values, labels, seed=1), order)


def test_folds_are_stratified_and_no_more_than_rows():
    values, labels = torch.randn(30, 4), torch.arange(30) % 3
    fold = deal_folds(values, labels, 5)
    counts = torch.zeros(3, 5).index_put_((labels, fold), torch.ones(30), accumulate=True)
    assert (counts == 2).all()
    assert sorted(deal_folds(values[:3], labels[:3], 5).tolist()) == [0, 1, 2]


def test_equal_rows_of_a_class_are_one_group_unless_it_has_no_others():
    values = torch.tensor([[1.0], [2.0], [1.0], [1.0], [3.0], [3.0]])
    labels = torch.tensor([0, 0, 0, 1, 2, 2])
    groups = row_groups(values, labels)
    assert groups[0] == groups[2]
    assert sorted(groups.tolist()) == [0, 0, 1, 2, 3, 4]


def test_copies_share_a_fold_whatever_their_order_and_names():
    generator = torch.Generator().manual_seed(0)
    values, labels = torch.randn(30, 4, generator=generator), torch.arange(30) % 3
    copies = torch.cat([torch.arange(30), torch.arange(0, 30, 2), torch.arange(5)])
    shuffle, names = torch.randperm(len(copies), generator=generator), torch.tensor([2, 0, 1])
    fold = deal_folds(values[copies], labels[copies], 5)
    assert torch.equal(fold, fold[copies])
    # Nothing else changes: the rows that are no copies lie where they would lie alone.
    assert torch.equal(fold[:30], deal_folds(values, labels, 5))
    again = deal_folds(values[copies[shuffle]], names[labels[copies[shuffle]]], 5)
    assert torch.equal(again, fold[shuffle])


def test_a_class_of_equal_rows_is_dealt_row_by_row():
    values, labels = torch.tensor([0.0, 0.0, 0.0, 1.0, 2.0, 3.0])[:, None], torch.tensor([0, 0, 0, 1, 1, 1])
    assert len(set(deal_folds(values, labels, 3)[:3].tolist())) == 3


def test_rows_to_fit_to_are_all_labelled_ones_then_a_part_of_the_others(monkeypatch):
    labels = torch.full((100,), UNLABELLED)
    labels[::10] = torch.arange(10) % 2
    assert fitting_rows(labels, 0).tolist() == list(range(0, 100, 10))
    assert fitting_rows(labels, 0, unlabelled=True).tolist() == list(range(100))
    monkeypatch.setattr("hf_ctkd.probes.labelled.MAX_FITTING_ROWS", 30)
    rows = fitting_rows(labels, 0, unlabelled=True)
    assert len(rows) == 30 and set(range(0, 100, 10)) <= set(rows.tolist())
    assert not torch.equal(rows, fitting_rows(labels, 1, unlabelled=True))


def test_two_rows_of_every_class_come_before_the_others(monkeypatch):
    monkeypatch.setattr("hf_ctkd.probes.labelled.MAX_FITTING_ROWS", 50)
    labels = torch.cat([torch.zeros(1000, dtype=torch.long), torch.tensor([1, 2, 1, 2, 1])])
    rows = fitting_rows(labels, 0, unlabelled=True)
    counts = torch.bincount(labels[rows], minlength=3)
    assert len(rows) == 50 and counts[1] >= 2 and counts[2] == 2
