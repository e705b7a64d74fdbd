"""The files for `accelerate launch`."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tiny
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from hf_ctkd.records import DistillationRecord

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples" / "accelerate"
FILES = sorted(path.name for path in FOLDER.glob("*.yaml"))
EXPECTED = {
    "two_cpu_processes.yaml": ("MULTI_GPU", "no", {}),  # accelerate starts several processes on the CPU by this type
    "multi_gpu.yaml": ("MULTI_GPU", "no", {}),
    "multi_gpu_bf16.yaml": ("MULTI_GPU", "bf16", {}),
    "fsdp2.yaml": ("FSDP", "bf16", {"fsdp_config": "fsdp_version"}),
    "deepspeed_zero2.yaml": ("DEEPSPEED", "bf16", {"deepspeed_config": "zero_stage"}),
    "deepspeed_zero3.yaml": ("DEEPSPEED", "bf16", {"deepspeed_config": "zero_stage"}),
}
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import tiny
import torch
from hf_ctkd.losses import RowTransportLoss
from hf_ctkd.training import DistillationConfig, DistillationTrainer
torch.set_num_threads(1)
trainer = DistillationTrainer(
    tiny.normless_student(),
    DistillationConfig(
        "student", max_steps=2, per_device_train_batch_size=4, disable_tqdm=True, save_strategy="no",
        report_to="none", cache_dir="cache", cache_teacher_outputs=False, bootstrap_resamples=10,
    ),
    teachers=["teacher"],
    loss=RowTransportLoss(),
    train_dataset=tiny.image_rows(),
    processing_class=tiny.processor(),
)
trainer.train()
teacher = trainer.teacher_runner.teachers[0].model
held = {{id(parameter) for parameter in trainer.model_wrapped.parameters()}}
apart = not any(id(parameter) in held for parameter in teacher.parameters())
trainer.save_model()
if trainer.is_world_process_zero():
    print("wrapped", type(trainer.model_wrapped).__name__, "teacher", type(teacher).__name__, "apart", apart)
trainer.accelerator.end_training()
"""


def test_every_file_is_in_the_table_of_the_readme():
    assert sorted(EXPECTED) == FILES
    assert set(re.findall(r"`(\w+\.yaml)`", (FOLDER / "README.md").read_text())) == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_accelerate_reads_it(name):
    kind, precision, parts = EXPECTED[name]
    config = load_config_from_file(str(FOLDER / name))
    assert (config.distributed_type.value, config.mixed_precision) == (kind, precision)
    assert config.num_processes >= 2 and config.use_cpu == name.startswith("two_cpu")
    assert all(key in getattr(config, part) for part, key in parts.items())
    stage = yaml.safe_load((FOLDER / name).read_text()).get("deepspeed_config", {}).get("zero_stage")
    assert stage == (int(name[len("deepspeed_zero")]) if name.startswith("deepspeed") else None)


@pytest.mark.slow
def test_two_processes_train_and_the_frozen_teacher_is_not_wrapped(tmp_path, free_port):
    tiny.save_image_teacher(tmp_path / "teacher")
    (tmp_path / "train.py").write_text(PROGRAM.format(tests=str(ROOT / "tests")))
    launch = ["-m", "accelerate.commands.launch", "--config_file", str(FOLDER / "two_cpu_processes.yaml")]
    launch += ["--main_process_port", free_port, "train.py"]
    completed = subprocess.run(
        [sys.executable, *launch], cwd=tmp_path, capture_output=True, text=True, timeout=280,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo",
             "ACCELERATE_USE_CPU": "true"},
    )  # fmt: skip
    assert completed.returncode == 0, completed.stderr[-3000:]
    assert "wrapped DistributedDataParallel teacher ResNetForImageClassification apart True" in completed.stdout
    assert DistillationRecord.load(tmp_path / "student" / "distillation.json").training["processes"] == 2
