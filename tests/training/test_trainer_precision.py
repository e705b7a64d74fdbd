"""Training under autocast in bfloat16, with teachers in a type of their own."""

import pytest
import torch

from hf_ctkd.losses import CommitteeLoss, ProbeLoss, RowTransportLoss
from hf_ctkd.teachers import LoadOptions


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cached", [True, False], ids=["kept", "online"])
@pytest.mark.parametrize("kind", [RowTransportLoss, ProbeLoss, CommitteeLoss])
def test_terms_in_bfloat16_are_near_those_in_float32(make, config, image_teacher, kind, cached, dtype):
    first = []
    for low in (True, False):
        args = config(max_steps=2, bf16=low, eval_strategy="no", cache_teacher_outputs=cached)
        options = LoadOptions(dtype=dtype if low else torch.float32)
        trainer = make(args, teachers=[image_teacher], loss=kind(), options=options)
        assert trainer.teacher_runner.teachers[0].model.dtype == options.dtype
        trainer.train()
        assert {parameter.dtype for parameter in trainer.student_with_loss.parameters()} == {torch.float32}
        first.append(trainer.state.log_history[0])
    # Eight bits of mantissa in every layer of student and teacher.
    for name in ("task_loss", "loss"):
        assert first[0][name] == pytest.approx(first[1][name], rel=0.05)
