"""Training under autocast in bfloat16, with teachers in a type of their own, in float16, and compiled."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.torch_version import TorchVersion

from hf_ctkd.errors import InvalidArgumentError
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


def test_float16_on_the_cpu_is_refused(make, config):
    message = "^`fp16` needs an accelerator, but this run trains on the CPU. Use `bf16`, or leave it out.$"
    with pytest.raises(InvalidArgumentError, match=message):
        make(config(fp16=True))


def test_an_old_torch_is_not_asked_to_compile(make, config, monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.6.0")
    message = "^`torch_compile` needs torch 2.7 or later here, got 2.6.0, .*Update torch, or leave it out.$"
    with pytest.raises(InvalidArgumentError, match=message):
        make(config(torch_compile=True))


@pytest.mark.slow
@pytest.mark.skipif(TorchVersion(torch.__version__) < "2.7", reason="refused")
def test_a_compiled_student_has_the_same_loss(tmp_path):
    program = Path(__file__).with_name("compiled_student.py")
    done = subprocess.run([sys.executable, str(program), str(tmp_path)], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-3000:]
    logs = json.loads(done.stdout.splitlines()[-1])
    assert [len(log) for log in logs] == [2, 2]
    for plain, compiled in zip(*logs, strict=True):
        for name in ("loss", "task_loss", "row_transport", "grad_norm"):
            assert compiled[name] == pytest.approx(plain[name], rel=1e-4)
