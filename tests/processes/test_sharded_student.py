"""FSDP2 and DeepSpeed on two processes without a GPU train as one process does, and leave the teacher alone."""

import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import sharded_student
import tiny
import torch
from safetensors.torch import load_file

from hf_ctkd.hub import folder_teachers
from hf_ctkd.records import DistillationRecord
from hf_ctkd.teachers import Teacher

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A student, a teacher, and what one process makes of them."""
    folder = tmp_path_factory.mktemp("sharded")
    tiny.save_image_teacher(folder / "squares")
    tiny.normless_student().save_pretrained(folder / "start")
    alone = sharded_student.trainer(folder, "alone", 1)
    alone.train()
    alone.save_model()
    (folder / "alone.pickle").write_bytes(pickle.dumps(sharded_student.outcome(alone)))
    return folder


needs_deepspeed = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")


@pytest.mark.parametrize(
    ("config", "wrapped", "speed"),
    [
        ("fsdp2", "FSDPStudentWithLoss", False),
        pytest.param("deepspeed_zero2", "DeepSpeedEngine", True, marks=needs_deepspeed),
        pytest.param("deepspeed_zero3", "DeepSpeedEngine", False, marks=needs_deepspeed),
    ],
)
def test_a_student_that_is_shared_out_learns_as_on_one_process(folder, free_port, config, wrapped, speed):
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--main_process_port", free_port]
    launch += ["--config_file", str(ROOT / "examples" / "accelerate" / f"{config}.yaml")]
    launch += ["--num_processes", "2", "--mixed_precision", "no"]
    done = subprocess.run(
        [*launch, sharded_student.__file__, str(folder), config],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-5000:]
    result, alone = (pickle.loads((folder / f"{name}.pickle").read_bytes()) for name in (config, "alone"))
    assert result["wrapped"] == wrapped
    assert result["whole"]["losses"] == pytest.approx(alone["losses"], abs=1e-4)
    assert result["resumed"]["losses"][-2:] == pytest.approx(alone["losses"][-2:], abs=1e-4)
    for part in ("whole", "resumed"):
        assert result[part]["evaluated"] == pytest.approx(alone["evaluated"], abs=1e-4)
    weights, expected = (load_file(folder / name / "model.safetensors") for name in (config, "alone"))
    assert weights.keys() == expected.keys()
    assert all(torch.allclose(weights[name], expected[name], atol=1e-3) for name in expected)
    teacher = Teacher.load(next(folder_teachers(folder / "squares")), "image")
    assert result["teacher"] == sum(parameter.numel() for parameter in teacher.model.parameters())
    student = DistillationRecord.load(folder / config / "distillation.json").student
    assert student.parameters == sum(tensor.numel() for tensor in expected.values())
    assert (student.rows_per_second is not None) == speed
