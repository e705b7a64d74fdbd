import sys
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from hf_ctkd.generic import GenericTeacherConfig  # noqa: E402


@pytest.fixture
def config(tmp_path):
    def make(**changes):
        settings = {
            "output_dir": str(tmp_path / "teacher"),
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-2,
            "use_cpu": True,
            "disable_tqdm": True,
            "logging_steps": 1,
            "save_strategy": "no",
            "bootstrap_resamples": 20,
            "cache_student_inputs": True,
        }
        return GenericTeacherConfig(**{**settings, **changes})

    return make
