"""The task of a student that classifies."""

import pytest
import tiny
import torch

from hf_ctkd.tasks import Classification
from hf_ctkd.types import UNLABELLED


def test_losses_of_rows_in_one_call_are_those_of_one_row_after_another():
    task, logits = Classification(), torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, UNLABELLED, 3, 1, UNLABELLED, 2])
    for smoothing in (0.0, 0.2):
        losses = task.row_losses(logits, labels, label_smoothing=smoothing)
        rows = [task.row_losses(logits[row : row + 1], labels[row : row + 1], label_smoothing=smoothing)
                for row in range(6)]  # fmt: skip
        torch.testing.assert_close(losses, torch.cat(rows))
        torch.testing.assert_close(losses.sum(), task.loss_sum(logits, labels, label_smoothing=smoothing))
    assert task.label_counts(labels).tolist() == [1, 0, 1, 1, 0, 1]


@pytest.mark.parametrize("problem_type", ["multi_label_classification", "regression"])
def test_problem_type_of_another_task_is_corrected(make, problem_type, caplog):
    student = tiny.image_student()
    student.config.problem_type = problem_type
    rows = {"train_dataset": tiny.image_rows(), "eval_dataset": tiny.image_rows(6)}
    with caplog.at_level("WARNING", "hf_ctkd.tasks.base"):
        trainer = make(model=student, **rows, processing_class=tiny.processor(), loss=None, teachers=None)
    assert trainer.student.config.problem_type == "single_label_classification"
    assert f"was {problem_type!r}" in caplog.text
