"""The whole promise with the real client against a Hub on loopback, from listing teachers to pulling the student."""

import shutil

import pytest
import tiny  # noqa: E402
import torch
from huggingface_hub import HfApi, ModelCard
from transformers import AutoImageProcessor, AutoModelForImageClassification

from hf_ctkd import DistillationConfig, DistillationTrainer, RowTransportLoss, TeacherSelector, hub_teachers
from hf_ctkd.errors import InvalidArgumentError, PublishingError


@pytest.fixture
def teachers_on_the_hub(hub, tmp_path):
    """Two teachers that work and one that is gated."""
    for name, seed in (("squares", 1), ("stripes", 2), ("secret", 3)):
        folder = tiny.save_image_teacher(tmp_path / name, seed=seed)
        (folder / "README.md").write_text("---\nlicense: mit\npipeline_tag: image-classification\n---\n# A teacher\n")
        hub.add(f"org/{name}", folder, **({"gated": "manual"} if name == "secret" else {}))
    return hub


@pytest.fixture
def trainer(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))

    def make(**changes):
        settings = {"max_steps": 3, "per_device_train_batch_size": 8, "use_cpu": True, "disable_tqdm": True}
        settings |= {"save_strategy": "steps", "save_steps": 2, "bootstrap_resamples": 20, "logging_strategy": "no"}
        arguments = {
            "model": tiny.image_student(),
            "args": DistillationConfig(str(tmp_path / "student"), **settings, **changes.pop("args", {})),
            "teachers": ["org/squares"],
            "loss": RowTransportLoss(),
            "train_dataset": tiny.image_rows(),
            "eval_dataset": tiny.image_rows(12, seed=5),
            "processing_class": tiny.processor(),
        }
        return DistillationTrainer(**{**arguments, **changes})

    return make


def test_main_job_end_to_end(teachers_on_the_hub, logged_in, trainer, tmp_path):
    rows = tiny.image_rows()
    candidates = list(hub_teachers(task="image-classification", limit=10))
    assert {candidate.model_id for candidate in candidates} == {"org/squares", "org/stripes", "org/secret"}
    ranking = TeacherSelector(progress=False).rank(candidates, rows)
    assert [teacher.candidate.name for teacher in ranking.teachers if teacher.skipped] == ["org/secret"]
    assert "gated" in str(ranking)

    made = trainer(teachers=ranking.top(1), ranking=ranking, args={"hub_model_id": "me/student"})
    made.train()
    made.evaluate()
    made.push_to_hub()

    api = HfApi()
    info = api.model_info("me/student")
    assert info.private, "a push must not be public by surprise"
    pushed = {sibling.rfilename for sibling in info.siblings}
    assert {"config.json", "model.safetensors", "README.md", "distillation.json", "ranking.json"} <= pushed
    assert not [name for name in pushed if name.endswith((".bin", ".pt", ".pkl")) or "checkpoint" in name]
    assert "distillation_loss.safetensors" not in pushed

    shutil.rmtree(tmp_path / "student")
    student = AutoModelForImageClassification.from_pretrained("me/student")
    processor = AutoImageProcessor.from_pretrained("me/student")
    inputs = processor([image.convert("RGB") for image in rows["image"][:3]], return_tensors="pt")
    made.student.eval()
    torch.testing.assert_close(student(**inputs).logits, made.student(**inputs).logits)

    card = ModelCard.load("me/student")
    best = ranking.top(1)[0]
    assert best.model_id in card.text and best.revision[:12] in card.text and "mit" in card.text
    assert card.data.library_name == "transformers"


def test_public_only_when_it_is_said(teachers_on_the_hub, logged_in, trainer):
    made = trainer(args={"hub_model_id": "me/open"})
    made.train()
    made.push_to_hub(private=False)
    assert not HfApi().model_info("me/open").private


@pytest.mark.filterwarnings("ignore:Cannot enable progress bars")  # off by the environment, for quiet tests
def test_pushing_while_training_makes_a_private_repository(teachers_on_the_hub, logged_in, trainer):
    made = trainer(args={"hub_model_id": "me/while", "push_to_hub": True})
    made.train()
    made.save_model()
    info = HfApi().model_info("me/while")
    assert info.private
    assert not [s.rfilename for s in info.siblings if s.rfilename.endswith(".bin") or "checkpoint" in s.rfilename]


def test_push_that_the_hub_refuses_leaves_the_folder_whole(
    teachers_on_the_hub, logged_in, trainer, no_waiting, tmp_path
):
    made = trainer(args={"hub_model_id": "me/refused"})
    made.train()
    teachers_on_the_hub.fault("commit", status=403)
    with pytest.raises(PublishingError):
        made.push_to_hub()
    AutoModelForImageClassification.from_pretrained(tmp_path / "student")
    assert (tmp_path / "student" / "README.md").exists()


def test_arguments_of_the_parent_that_make_no_sense_are_refused(teachers_on_the_hub, trainer):
    made = trainer()
    with pytest.raises(InvalidArgumentError, match="publishes to main at once"):
        made.push_to_hub(blocking=False)
