import json
from pathlib import Path

import pytest
import torch
from tiny_models import image_processor
from tiny_shelf import SMALL
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig, ViTForImageClassification

from hf_ctkd.generic import GenericTeacherTrainer, StudentPool
from hf_ctkd.records import DistillationRecord
from hf_ctkd.types import LabelSpace

POOL = StudentPool("resnet", ((1, 2), (1, 2)), widths=((4, 8), (8,)), input_size=8)


@pytest.fixture
def train(run, shelf, tmp_path):
    POOL.save(tmp_path / "pool.json")

    def call(*words: object, pool: object = "pool.json"):
        given = [] if pool is None else ["--pool", pool]
        rows = ["--dataset", shelf / "squares", "--teacher", shelf / "student"]
        return run("generic-teacher", "train", *rows, *given, *SMALL, *words)

    return call


def test_a_teacher_for_a_pool_with_students_to_distill(train, run, shelf):
    code, out, err = train("--students", 2, "--output_dir", "out", "--paths_per_step", 1, "--logging_steps", 1)
    assert code == 0, err
    record = DistillationRecord.load("out/distillation.json")
    assert StudentPool.from_dict(record.pool.description) == POOL == StudentPool.load("out/pool.json")
    assert record.loss.settings["paths_per_step"] == 1 and set(record.results) == {"accuracy", "macro_f1"}
    assert record.command.startswith("hf-ctkd generic-teacher train --dataset ")
    assert AutoModelForImageClassification.from_pretrained("out").config.id2label[2] == "striped"
    assert "for a pool of 8 students (resnet) saved in out." in out and "'branch_kl'" in out
    assert "Card: out/README.md" in out and "accuracy" in out
    students = sorted(Path("out/students").iterdir())
    assert len(students) == 2 and out.count("Student, untrained: ") == 2
    AutoImageProcessor.from_pretrained(students[0])
    words = next(line for line in out.splitlines() if line.startswith("Next:  hf-ctkd ")).split()[2:]
    assert words[words.index("--student") + 1].startswith("out/students/resnet-depths-")
    words[words.index("--dataset") + 1] = str(shelf / "squares")
    code, _, err = run(*words, *SMALL)
    assert code == 0, err
    assert DistillationRecord.load("student/distillation.json").teachers[0].candidate.name == "out"


def test_progress_can_be_silenced(train):
    shown = ["--overwrite", "--disable_tqdm", "false"]
    code, _, err = train(*shown)
    assert code == 0 and "/2 [" in err
    code, _, err = train(*shown, "--quiet")
    assert code == 0 and "/2 [" not in err and "row/s" not in err


def test_students_that_start_from_their_branches(train):
    weights = []
    for flags in ((), ("--students_from_branches",)):
        code, _, err = train("--students", 1, "--output_dir", f"out{len(flags)}", *flags)
        assert code == 0, err
        (folder,) = Path(f"out{len(flags)}/students").iterdir()
        model = AutoModelForImageClassification.from_pretrained(folder)
        weights.append((model.resnet.embedder.embedder.convolution.weight, model.classifier[-1].weight))
    (stem, head), (stem_of_other, head_of_other) = weights
    assert torch.equal(stem, stem_of_other) and not torch.equal(head, head_of_other)


def test_students_are_the_largest_within_a_budget(train):
    sizes = sorted(member.build(_classes()).num_parameters() for member in POOL)
    code, out, err = train("--students", 1, "--student_parameters", sizes[3] + 100)
    assert code == 0, err
    (folder,) = Path("generic-teacher/students").iterdir()
    model = AutoModelForImageClassification.from_pretrained(folder)
    assert sizes[1] < model.num_parameters() <= sizes[3] + 100


def test_a_budget_counts_the_head_for_the_classes_of_the_rows(train):
    smallest = min(member.build(_classes()).num_parameters() for member in POOL)
    code, _, err = train("--students", 1, "--student_parameters", smallest - 1)
    assert code == 1 and f"is too few for any of 8 members: the smallest has {smallest}." in err
    code, _, err = train("--students", 8, "--student_parameters", smallest)
    assert code == 1 and "`--students` asks for 8, but only 1 of those looked at fit the budget." in err


def test_without_a_pool_it_is_a_plain_teacher(train):
    code, out, err = train("--logging_steps", 1, pool=None)
    assert code == 0, err
    assert "for no pool saved in generic-teacher" in out and "'branch_kl'" not in out
    assert out.rstrip().endswith("--student ORG/MODEL") and "ONE_OF_THE_POOL" not in out
    assert not Path("generic-teacher/pool.json").exists()
    assert DistillationRecord.load("generic-teacher/distillation.json").pool is None


def test_a_run_goes_on_from_its_checkpoint(train, monkeypatch):
    save = ["--save_strategy", "steps", "--save_steps", 1, "--max_steps", 3]
    assert train(*save, "--output_dir", "once")[0] == 0
    step = GenericTeacherTrainer.training_step

    def interrupted(self, *arguments, **named):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(GenericTeacherTrainer, "training_step", interrupted)
        code, _, err = train(*save, "--output_dir", "twice")
    assert code == 130
    assert "twice/checkpoint-2 is kept; run the same command with `--resume_from_checkpoint true`" in err
    code, _, err = train(*save, "--output_dir", "twice", "--resume_from_checkpoint", "true")
    assert code == 0, err
    models = [AutoModelForImageClassification.from_pretrained(name) for name in ("once", "twice")]
    pairs = zip(*(model.state_dict().values() for model in models), strict=True)
    assert all(bool((one == other).all()) for one, other in pairs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--teacher", "nowhere"], "`--teacher` 'nowhere' must be an image model with its image processor"),
        (["--pool", "missing.json"], "Cannot read missing.json: No such file or directory."),
        (["--students", 1, "--student_parameters", 5], "`parameters` 5 is too few for any of 8 members"),
        (["--students", 9], "`--students` must be at most the 8 of the pool, got 9."),
        (["--students", -1], "`--students` must be 0 or more, got -1."),
        (["--students_from_branches"], "`--students_from_branches` needs students that start so. Say how many"),
        (["--student_parameters", 1], "`--student_parameters` needs students to choose."),
        (["--student_latency_ms", 1], "`--student_latency_ms` needs students to choose."),
        (["--students", 1, "--student_parameters", "nan"], "must be positive and finite, got nan."),
        (["--students", 1, "--student_latency_ms", 0], "`--student_latency_ms` must be positive and finite, got 0.0."),
        (
            ["--kl_direction", "from_teacher", "--branch_temperature", 0],
            "`--branch_temperature` must be positive, got 0.0.",
        ),
        (["--resume_from_checkpoint", "true"], "finds no complete checkpoint in generic-teacher"),
    ],
)
def test_what_cannot_be_is_refused_before_the_work(train, words, said):
    code, _, err = train(*words)
    assert code == 1 and said in err
    assert not Path("generic-teacher/model.safetensors").exists()


def test_students_need_a_pool(train):
    code, _, err = train("--students", 1, pool=None)
    assert (code, "`--students` needs a pool" in err) == (1, True)


def test_a_pool_of_another_kind_is_refused(train, tmp_path):
    values = {**POOL.to_dict(), "family": "vgg"}
    (tmp_path / "vgg.json").write_text(json.dumps(values))
    code, _, err = train("--pool", "vgg.json")
    assert code == 1 and "`family` must be one of resnet, convnext, vit, bert, got 'vgg'." in err


def test_a_teacher_that_is_too_shallow_for_the_pool_is_refused(train, tmp_path):
    deep = StudentPool("resnet", ((1,),) * 3, widths=((4,),) * 3, input_size=8)
    deep.save(tmp_path / "deep.json")
    code, _, err = train("--pool", "deep.json")
    assert code == 1 and "`model` must have at least the 3 stages of the pool, got 2." in err


def test_students_that_could_not_read_what_the_saved_processor_gives_are_refused(run, shelf, tmp_path):
    torch.manual_seed(0)
    encoder = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 8}
    config = ViTConfig(image_size=8, patch_size=4, num_labels=3, **encoder)
    ViTForImageClassification(config).save_pretrained("vit")
    image_processor(8).save_pretrained("vit")
    choices = {"heads": (1,), "feed_forward": (8,), "head_width": 4, "settings": {"patch_size": 4}}
    StudentPool("vit", ((1,), (1,)), input_size=16, **choices).save("sixteen.json")
    words = ["--dataset", shelf / "squares", "--teacher", "vit", "--pool", "sixteen.json", *SMALL]
    code, _, err = run("generic-teacher", "train", *words, "--students", 1)
    assert code == 1 and "`input_size` of the pool must be that of the processor's images, 8 x 8, got 16." in err
    assert not Path("generic-teacher/model.safetensors").exists()
    assert run("generic-teacher", "train", *words)[0] == 0, "students to come may have another processor"


def test_an_action_is_needed(run, shelf):
    code, _, err = run("generic-teacher", "--dataset", shelf / "squares", "--teacher", shelf / "student")
    assert code == 2 and "required: ACTION" in err


def _classes():

    return LabelSpace(("dark", "bright", "striped"))
