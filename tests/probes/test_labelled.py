import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.probes.labelled import (
    check_labels,
    check_outputs,
    fitting_rows,
    labelled_rows,
    logits_of,
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
