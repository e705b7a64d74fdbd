import doctest

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from transformers import EvalPrediction

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import Confidence
from hf_ctkd.tasks import evaluation
from hf_ctkd.tasks.evaluation import (
    _BUILT_IN,
    Accuracy,
    ClassificationMetrics,
    MacroF1,
    RowMetrics,
    as_confidences,
    confidence,
    interval,
    load_metric,
    rows_per_second,
)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", _BUILT_IN)
def test_quick_form_of_a_metric_equals_the_one_that_evaluate_runs(name, seed):
    generator = np.random.default_rng(seed)
    # Some classes are never seen, some never predicted, as in a resample of few rows.
    references, predictions = generator.integers(0, 7, 12), generator.integers(2, 9, 12)
    metric, quick = _BUILT_IN[name]
    expected = metric().compute(predictions=predictions, references=references)[name]
    assert quick(references, predictions) == pytest.approx(expected)


def test_metrics_need_no_network_and_have_known_values():
    references, predictions = [0, 0, 1, 2], [0, 1, 1, 1]
    assert Accuracy().compute(predictions=predictions, references=references) == {"accuracy": 0.5}
    expected = f1_score(references, predictions, average="macro", zero_division=0.0)
    assert MacroF1().compute(predictions=predictions, references=references)["macro_f1"] == pytest.approx(expected)


def test_interval_has_the_width_that_theory_gives():
    references = np.zeros(400, dtype=int)
    predictions = (np.arange(400) >= 300).astype(int)
    found = confidence("accuracy", predictions, references, resamples=4000)
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert found.value == 0.75
    assert (found.low, found.high) == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)
    # A percentile of 4,000 resamples of steps of 1/400.
    ends = interval(lambda right: float(right.mean()), (references == predictions,), resamples=4000)
    assert ends == pytest.approx((0.75 - half, 0.75 + half), abs=0.006)


def test_rows_that_are_all_right_have_no_interval_of_zero_width():
    references = np.arange(30) % 3
    prediction = EvalPrediction(np.eye(3)[references], references)
    metrics = ClassificationMetrics(["accuracy", "macro_f1"], resamples=200, seed=0)(prediction)
    assert metrics == {
        "accuracy": 1.0,
        "accuracy_low": pytest.approx(0.886, abs=1e-3),  # Wilson
        "accuracy_high": 1.0,
        "macro_f1": 1.0,
    }
    rows = RowMetrics({"largest": lambda labels, found: 1.0}, ["largest"], resamples=20, seed=0)
    assert rows(EvalPrediction(np.ones((4, 1)), np.ones((4, 1)))) == {"largest": 1.0}


def test_interval_follows_its_seed():
    references, predictions = np.arange(50) % 3, np.arange(50) % 4 % 3
    assert confidence("macro_f1", predictions, references, seed=1) == confidence(
        "macro_f1", predictions, references, seed=1
    )
    assert confidence("macro_f1", predictions, references, seed=1) != confidence(
        "macro_f1", predictions, references, seed=2
    )


def test_unlabelled_rows_are_left_out_and_no_resamples_give_no_interval():
    prediction = EvalPrediction(np.eye(3)[[0, 1, 2, 0]], np.array([0, 1, 0, -100]))
    assert ClassificationMetrics(["accuracy"], resamples=0, seed=0)(prediction) == {"accuracy": pytest.approx(2 / 3)}


def test_intervals_stand_with_their_metric_and_other_numbers_alone():
    metrics = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "recall_low": 0.1, "f1_low": 0.2}
    others = {"f1_high": 0.9, "report": "good", "sure": True, "by_class": [0.1], "lost": float("nan")}
    assert as_confidences(metrics | others) == {
        "accuracy": Confidence(0.5, 0.4, 0.6),
        "recall_low": Confidence(0.1),
        "f1_low": Confidence(0.2),
        "f1_high": Confidence(0.9),
    }


def test_examples_in_docstrings():
    assert doctest.testmod(evaluation).failed == 0


def test_metric_that_cannot_be_had_is_named():
    with pytest.raises(InvalidArgumentError, match="'no_such_metric_at_all'.*accuracy or macro_f1"):
        load_metric("no_such_metric_at_all")


def test_speed_counts_rows_and_leaves_the_first_pass_out():
    calls = []
    assert rows_per_second(calls.append, {"pixel_values": torch.zeros(8, 1)}, repeats=3) > 0
    assert len(calls) == 4
