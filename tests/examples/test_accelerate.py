"""The files for `accelerate launch`; `tests/processes` launches two processes with one of them."""

import re
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

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
