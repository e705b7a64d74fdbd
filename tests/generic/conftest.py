import sys
from pathlib import Path

import pytest
import tiny

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from hf_ctkd.generic import GenericTeacherConfig  # noqa: E402


@pytest.fixture
def config(tmp_path):
    def make(**changes):
        settings = {"output_dir": str(tmp_path / "teacher"), "cache_student_inputs": True}
        return GenericTeacherConfig(**{**tiny.FEW_STEPS, **settings, **changes})

    return make
