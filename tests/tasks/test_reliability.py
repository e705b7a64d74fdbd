import doctest

import numpy as np
import pytest
from transformers import EvalPrediction

from hf_ctkd.tasks import (
    Classification,
    DepthEstimation,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
)
from hf_ctkd.tasks import reliability as module
from hf_ctkd.tasks.reliability import log_losses, reliability
from hf_ctkd.types import LabelSpace

UNLABELLED = -100
ROWS = np.log([[0.75, 0.25]] * 4 + [[0.05, 0.95]] * 2).astype(np.float32)
LABELS = np.array([0, 0, 1, 1, 1, 1])
"""Two of four right with confidence 0.75, two of two with 0.95."""


def bins(measured):
    return [(round(each.confidence, 6), each.accuracy, each.count) for each in measured.bins]


def test_examples():
    assert doctest.testmod(module).failed == 0


def test_bins_error_and_log_loss_are_those_of_their_definition():
    measured = reliability(ROWS, LABELS)
    assert bins(measured) == [(0.75, 0.5, 4), (0.95, 1.0, 2)]
    assert measured.error == pytest.approx((4 * 0.25 + 2 * 0.05) / 6, abs=1e-6)
    assert measured.log_loss == pytest.approx(-(2 * np.log(0.75) + 2 * np.log(0.25) + 2 * np.log(0.95)) / 6, abs=1e-6)
    assert measured.bin_count == 15


def test_full_confidence_is_in_the_last_bin_and_equal_logits_are_judged_as_the_accuracy_judges_them():
    certain = np.array([[99.0, 0.0], [0.0, 99.0], [0.0, 0.0]])
    assert bins(reliability(certain, np.array([0, 0, 0]))) == [(0.5, 1.0, 1), (1.0, 0.5, 2)]


def test_rows_are_read_in_parts(monkeypatch):
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(50, 3)), generator.integers(3, size=50)
    whole = reliability(logits, labels)
    monkeypatch.setattr(module, "_PART", 7)
    assert reliability(logits, labels) == whole


def test_rows_without_a_label_are_left_out():
    logits = np.concatenate([ROWS, np.full((3, 2), 9.0, np.float32)])
    labels = np.concatenate([LABELS, np.full(3, UNLABELLED)])
    assert Classification().reliability(EvalPrediction(logits, labels)) == reliability(ROWS, LABELS)
    vectors = np.eye(2, dtype=np.float32)[LABELS]
    unlabelled = np.concatenate([vectors, np.full((3, 2), np.nan, np.float32)])
    assert MultiLabelClassification().reliability(EvalPrediction(logits, unlabelled)) == reliability(ROWS, vectors)


def test_every_class_of_a_row_with_several_is_a_decision():
    logits = np.log([[3.0, 1 / 9], [3.0, 1 / 9]])  # probabilities 0.75 and 0.1
    measured = MultiLabelClassification().reliability(EvalPrediction(logits, np.array([[1.0, 0.0], [0.0, 0.0]])))
    assert bins(measured) == [(0.1, 0.0, 2), (0.75, 0.5, 2)]
    assert measured.error == pytest.approx((2 * 0.1 + 2 * 0.25) / 4)
    assert log_losses(logits, np.array([[1.0, 0.0]] * 2)) == pytest.approx([-np.log(0.75), -np.log(0.9)] * 2)


@pytest.mark.parametrize(
    ("logits", "labels"),
    [(ROWS, np.full(6, UNLABELLED)), (np.full((6, 2), np.nan), LABELS), (np.full((6, 2), np.inf), LABELS)],
    ids=["no label", "nan", "infinity"],
)
def test_nothing_to_measure(logits, labels):
    assert Classification().reliability(EvalPrediction(logits, labels)) is None


@pytest.mark.parametrize("task", [Regression(), DepthEstimation(), SemanticSegmentation(LabelSpace(("a", "b")))])
def test_students_without_probabilities_of_rows(task):
    assert task.reliability(EvalPrediction(np.zeros((6, 1)), np.zeros((6, 1)))) is None
