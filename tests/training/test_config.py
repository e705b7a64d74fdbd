import pytest

from hf_ctkd.training import DistillationConfig


@pytest.mark.parametrize(("flag", "use_cpu"), [("true", True), ("false", False), (None, False)])
def test_processes_that_accelerate_starts_on_the_cpu_train_there_together(monkeypatch, tmp_path, flag, use_cpu):
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    if flag is not None:
        monkeypatch.setenv("ACCELERATE_USE_CPU", flag)
    assert DistillationConfig(str(tmp_path)).use_cpu is use_cpu
    assert DistillationConfig(str(tmp_path), use_cpu=True).use_cpu is True
