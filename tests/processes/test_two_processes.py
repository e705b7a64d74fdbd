"""Two processes of `accelerate launch` agree with one, and with each other."""

import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from branch_steps import same_steps, steps
from evaluate_rows import expected_loss
from one_step import LOSSES, for_loss, one_step, same_step
from pools import POOLS
from tiny_models import image_processor, image_rows, png, save, tiny_resnet

from hf_ctkd.data import TargetRows
from hf_ctkd.records import DistillationRecord
from hf_ctkd.teachers import Teacher, compute_outputs, open_cache

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "examples" / "accelerate" / "two_cpu_processes.yaml"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def launched(tmp_path_factory, free_port):
    """The folder of the launch, and what its main process and the other one made: a dict each, by part."""
    folder = tmp_path_factory.mktemp("launched")
    tiny.save_image_teacher(folder / "squares")
    tiny.save_image_teacher(folder / "other", seed=8, classes=7, size=8)
    resnet = save(folder / "resnet", tiny_resnet(seed=7), image_processor())
    images = image_rows([png(row) for row in range(12)], [row % 3 for row in range(12)])
    images.save_to_disk(folder / "rows")
    image_rows([png(0), b"nothing", png(2)], [0, 1, 0]).save_to_disk(folder / "broken")
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(CONFIG)]
    launch += ["--main_process_port", free_port]
    done = subprocess.run(
        [*launch, str(Path(__file__).with_name("two_processes.py")), str(folder)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "ACCELERATE_USE_CPU": "true"},
        capture_output=True, text=True, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    main, other = (pickle.loads((folder / f"{name}.pickle").read_bytes()) for name in ("main", "other"))
    return SimpleNamespace(folder=folder, main=main, other=other, resnet=resnet, rows=TargetRows.of(images))


def test_the_frozen_teacher_is_not_wrapped(launched):
    expected = {"student": "DistributedDataParallel", "teacher": "ResNetForImageClassification", "apart": True}
    assert launched.main["frozen_teacher"] == launched.other["frozen_teacher"] == expected
    record = DistillationRecord.load(launched.folder / "student" / "distillation.json")
    assert record.training["processes"] == 2


def test_teacher_outputs_are_those_of_one_process(launched):
    teacher = Teacher.load(launched.resnet, "image")
    expected = compute_outputs(teacher, launched.rows, progress=False).select(torch.arange(12))
    for process in (launched.main, launched.other):
        outputs = process["teacher_outputs"]
        torch.testing.assert_close(outputs["features"], expected.features)
        torch.testing.assert_close(outputs["logits"], expected.logits)
        torch.testing.assert_close(outputs["single"], expected.logits[:1])
        assert outputs["errors"][:2] == ["failed on 1", "failed on 0"]
        assert outputs["errors"][2].startswith("Row 1 of `image` holds no image")
    assert open_cache(launched.folder / "outputs", teacher).missing(launched.rows.digests) == []


@pytest.mark.parametrize("loss", LOSSES)
def test_a_step_does_not_depend_on_the_number_of_processes(launched, tmp_path, loss):
    teachers = for_loss(loss, f"{launched.folder / 'squares'},{launched.folder / 'other'}")
    whole = one_step(tmp_path, teachers, accumulation=1, rows=16, loss=loss)
    in_one_piece, in_two = launched.main["steps_of_losses"][loss]
    same_step(in_one_piece, whole)
    same_step(in_two, whole)


def test_an_evaluation_does_not_depend_on_the_number_of_processes(launched):
    assert launched.main["evaluation_losses"] == pytest.approx([expected_loss()] * 3, rel=1e-5)


def test_processes_draw_the_same_paths_and_keep_the_same_weights(launched, tmp_path):
    whole = steps(tmp_path, POOLS["vit"], accumulation=1, rows=16)
    main, other = (process["steps_of_branches"] for process in (launched.main, launched.other))
    assert main["weights"] == other["weights"]
    same_steps(main, whole)
