"""The contract of tasks: every task here keeps it, so does that of the docstring, and breaches are reported."""

import doctest

import numpy as np
import pytest
import tiny
import tiny_dense
import torch
from datasets import Dataset, Features, Image, List, Value

from hf_ctkd.tasks import (
    Classification,
    DepthEstimation,
    MultiLabelClassification,
    Regression,
    SemanticSegmentation,
    base,
)
from hf_ctkd.testing import check_task
from hf_ctkd.types import LabelSpace


def _images_with(labels: list, feature) -> Dataset:
    images = tiny.image_rows(len(labels))["image"]
    return Dataset.from_dict(
        {"image": images, "label": labels}, features=Features({"image": Image(), "label": feature})
    )


def _texts_with(labels: list, feature) -> Dataset:
    texts = tiny.text_rows(len(labels))["text"]
    features = Features({"text": Value("string"), "label": feature})
    return Dataset.from_dict({"text": texts, "label": labels}, features=features)


VECTORS = [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0], None, None]
NUMBERS = [0.5, 1.5, -1.0, 2.0, None, float("nan")]
CASES = {
    "classes of images": lambda: (
        Classification(), tiny.image_rows(12, unlabelled=3), tiny.image_student(), tiny.processor(),
    ),
    "several classes of images": lambda: (
        MultiLabelClassification(), _images_with(VECTORS, List(Value("float32"))), tiny.image_student(),
        tiny.processor(),
    ),
    "several classes of texts": lambda: (
        MultiLabelClassification(), _texts_with(VECTORS, List(Value("float32"))), tiny.text_model(3), tiny.tokenizer(),
    ),
    "numbers of images": lambda: (
        Regression(), _images_with(NUMBERS, Value("float64")), tiny.image_student(1), tiny.processor(),
    ),
    "numbers of texts": lambda: (
        Regression(), _texts_with(NUMBERS, Value("float32")), tiny.text_model(1), tiny.tokenizer(),
    ),
    "masks": lambda: (
        SemanticSegmentation(LabelSpace(tiny_dense.NAMES)), tiny_dense.mask_rows(6, unlabelled=2),
        tiny_dense.mask_student(), tiny_dense.processor(),
    ),
    "depths": lambda: (
        DepthEstimation(), tiny_dense.depth_rows(6, unlabelled=2), tiny_dense.depth_student(), tiny_dense.processor(),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_tasks_keep_the_contract(name):
    check_task(*CASES[name]())


def test_the_task_of_the_docstring_keeps_the_contract():
    scope = dict(vars(base))
    example = doctest.DocTestParser().get_doctest(base.StudentTask.__doc__, scope, "StudentTask", None, None)
    assert doctest.DocTestRunner().run(example, clear_globs=False).failed == 0
    counts = _images_with([3.0, 0.0, 2.0, 7.0, None, None], Value("float32"))
    check_task(example.globs["Counting"](), counts, tiny.image_student(1), tiny.processor())


class _GivesUnlabelledRowsALoss(Regression):
    def row_losses(self, prediction, labels, *, label_smoothing=0.0):
        return (prediction - labels.nan_to_num()).square()[:, 0]


class _HasNaNGradients(Regression):
    def row_losses(self, prediction, labels, *, label_smoothing=0.0):
        return torch.where(self.labelled(labels), (prediction - labels).square()[:, 0], 0.0)


class _MixesRows(Regression):
    def row_losses(self, prediction, labels, *, label_smoothing=0.0):
        centred = prediction - prediction.mean()
        return torch.where(self.labelled(labels), (centred - labels.nan_to_num()).square()[:, 0], 0.0)


class _ClimbsTheLoss(Regression):
    def row_losses(self, prediction, labels, *, label_smoothing=0.0):
        losses = (prediction - labels.nan_to_num()).square()[:, 0]
        flipped = losses.detach() * 2 - losses
        return torch.where(self.labelled(labels), flipped, 0.0)


class _CountsUnlabelledRows(Regression):
    def compute_metrics(self, args):
        def metrics(prediction):
            error = float(np.abs(np.nan_to_num(prediction.label_ids) - prediction.predictions).mean())
            return dict.fromkeys(self.metric_names, error)

        return metrics


class _ForgetsTheOrder(Regression):
    def fingerprint(self, rows):
        return "always the same"


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (_GivesUnlabelledRowsALoss, "`row_losses` must be 0 for rows without a label"),
        (_HasNaNGradients, "the gradient of the task loss must be finite"),
        (_MixesRows, "`row_losses` must not mix rows"),
        (_ClimbsTheLoss, "a small step against the gradient must not raise the loss"),
        (_CountsUnlabelledRows, "rows without a label must not change the metrics"),
        (_ForgetsTheOrder, "`fingerprint` must depend on the order of rows"),
    ],
)
def test_breaches_are_told(task, complaint):
    rows = _images_with(NUMBERS, Value("float32"))
    with pytest.raises(AssertionError, match=complaint):
        check_task(task(), rows, tiny.image_student(1), tiny.processor())
