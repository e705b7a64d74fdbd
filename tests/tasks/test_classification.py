"""The task of a student that classifies."""

import torch

from hf_ctkd.tasks import Classification, StudentTask
from hf_ctkd.types import UNLABELLED


def test_losses_of_rows_in_one_call_are_those_of_one_row_after_another():
    task, logits = Classification(), torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, UNLABELLED, 3, 1, UNLABELLED, 2])
    for smoothing in (0.0, 0.2):
        found = task.row_losses(logits, labels, label_smoothing=smoothing)
        torch.testing.assert_close(found, StudentTask.row_losses(task, logits, labels, label_smoothing=smoothing))
        torch.testing.assert_close(found[:, 0].sum(), task.loss_sum(logits, labels, label_smoothing=smoothing))
    assert found[:, 1].tolist() == [1, 0, 1, 1, 0, 1]
