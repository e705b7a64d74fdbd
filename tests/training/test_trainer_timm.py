"""A student of timm trains, is saved, opened by transformers alone, and published; skipped without timm."""

from pathlib import Path

import pytest
import tiny
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification, TimmWrapperConfig, pipeline

from hf_ctkd.cards import publish
from hf_ctkd.training import DistillationTrainer

pytest.importorskip("timm")
pytest.importorskip("torchvision")


@pytest.fixture
def student(tmp_path) -> Path:
    """As a model of timm on the Hub: its processor lies in `config.json`."""
    torch.manual_seed(0)
    config = TimmWrapperConfig(
        architecture="test_resnet",
        num_labels=5,
        label_names=["ant", "bee", "cow", "dog", "eel"],
        pretrained_cfg={"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 1.0},
    )
    AutoModelForImageClassification.from_config(config).save_pretrained(tmp_path / "timm")
    return tmp_path / "timm"


@pytest.mark.parametrize("named", [True, False])
def test_a_student_of_timm_is_trained_opened_and_published(
    named, student, image_teacher, config, tmp_path, hub, logged_in
):
    rows = tiny.image_rows()
    names = dict(enumerate(tiny.NAMES)) if named else {}
    settings = {"id2label": names, "label2id": {name: label for label, name in names.items()}} if named else {}
    trainer = DistillationTrainer(
        model=AutoModelForImageClassification.from_pretrained(
            student, num_labels=3, ignore_mismatched_sizes=True, **settings
        ),
        args=config(max_steps=3),
        teachers=[image_teacher],
        train_dataset=rows,
        eval_dataset=tiny.image_rows(12, seed=5),
        processing_class=AutoImageProcessor.from_pretrained(student),
    )
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    trainer.create_model_card()
    folder = tmp_path / "student"
    opened = AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor([image.convert("RGB") for image in rows[:4]["image"]], return_tensors="pt")
    with torch.no_grad():
        torch.testing.assert_close(opened(**pixels).logits, trainer.student.eval()(**pixels).logits)
    assert opened.config.id2label == dict(enumerate(tiny.NAMES))
    classify = pipeline("image-classification", model=str(folder), device="cpu")
    best = opened(**pixels).logits.argmax(1)
    images = [image.convert("RGB") for image in rows[:4]["image"]]
    assert [answers[0]["label"] for answers in classify(images)] == [tiny.NAMES[label] for label in best]
    publish(folder, "me/timm-student")
    files = hub.repos["me/timm-student"].files
    assert {"README.md", "config.json", "model.safetensors"} <= set(files)
    assert b"pip install" in files["README.md"] and b"timm" in files["README.md"]
    pulled = AutoModelForImageClassification.from_pretrained("me/timm-student", cache_dir=tmp_path / "hub").eval()
    with torch.no_grad():
        torch.testing.assert_close(pulled(**pixels).logits, opened(**pixels).logits)
