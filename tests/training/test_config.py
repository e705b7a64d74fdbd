import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import ProbeLoss
from hf_ctkd.training import DistillationConfig


@pytest.mark.parametrize(("flag", "use_cpu"), [("true", True), ("false", False), (None, False)])
def test_processes_that_accelerate_starts_on_the_cpu_train_there_together(monkeypatch, tmp_path, flag, use_cpu):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if flag is not None:
        monkeypatch.setenv("ACCELERATE_USE_CPU", flag)
    assert DistillationConfig(str(tmp_path)).use_cpu is use_cpu
    assert DistillationConfig(str(tmp_path), use_cpu=True).use_cpu is True


def test_memory_is_pinned_where_there_is_an_accelerator_to_copy_to(tmp_path):
    assert DistillationConfig(str(tmp_path)).dataloader_pin_memory is torch.accelerator.is_available()


def test_how_teacher_outputs_are_computed_and_stored(make, config, image_teacher):
    args = config(teacher_output_dtype="float16", max_cache_bytes=10**6, teacher_workers=1)
    outputs = make(args, teachers=[image_teacher], loss=ProbeLoss()).teacher_runner.cached[0]
    exact = make(config(), teachers=[image_teacher], loss=ProbeLoss()).teacher_runner.cached[0]
    rows = torch.arange(len(exact))
    stored, full = outputs.select(rows).features, exact.select(rows).features
    assert torch.equal(stored, full.half().float()) and not torch.equal(stored, full)


def test_more_bytes_than_allowed_are_refused_with_what_to_do(make, config, image_teacher):
    with pytest.raises(InvalidArgumentError, match="`max_cache_bytes` allows 0.0 MB. Raise it, .* `teacher_output_dt"):
        make(config(max_cache_bytes=10), teachers=[image_teacher], loss=ProbeLoss())


def test_bad_options_of_storage(config):
    with pytest.raises(InvalidArgumentError, match="`teacher_output_dtype` must be float32 or float16, got 'int8'"):
        config(teacher_output_dtype="int8")
    for name, value in (("teacher_workers", -1), ("max_cache_bytes", 0)):
        with pytest.raises(InvalidArgumentError, match=f"`{name}`"):
            config(**{name: value})
