"""A student's folder as `save_pretrained` leaves it, in small."""

from pathlib import Path

import pytest
from hub_server import model_files

from hf_ctkd.records import (
    Confidence,
    DistillationRecord,
    LossRecord,
    RankedTeacher,
    StudentRecord,
    TaskRecord,
    TeacherCandidate,
    TeacherRanking,
    TeacherRecord,
)


@pytest.fixture
def record() -> DistillationRecord:
    teacher = TeacherCandidate("zoo/letters", "ab12" * 10, license="mit", label_names=("a", "b"), parameters=9000)
    return DistillationRecord(
        task=TaskRecord("me/pets", "1f2e", "image-classification", "image", "label", ("cat", "dog"), 60, 20, 30),
        student=StudentRecord("ResNetForImageClassification", parameters=6),
        teachers=(TeacherRecord(teacher),),
        loss=LossRecord("TransportLoss", {"epsilon": 0.1}, "after Lu et al. 2022"),
        results={"accuracy": Confidence(0.9, 0.8, 0.95), "f1": Confidence(0.88, 0.75, 0.94)},
    )


@pytest.fixture
def ranking(record) -> TeacherRanking:
    return TeacherRanking((RankedTeacher(record.teachers[0].candidate, {"probe": 0.7}, rows=20),), "probe")


@pytest.fixture
def folder(tmp_path, record, ranking) -> Path:
    """Publishable, and full of what must stay at home."""
    folder = tmp_path / "student"
    (folder / "checkpoint-5").mkdir(parents=True)
    (folder / "runs").mkdir()
    for name, content in model_files(labels=["cat", "dog"], card=None).items():
        (folder / name).write_bytes(content)
    for name in (
        "training_args.bin",
        "optimizer.pt",
        "loss.safetensors",
        "trainer_state.json",
        "modeling_custom.py",
        ".cache.json",
        "checkpoint-5/model.safetensors",
        "runs/events.out",
        "notes.txt",
        ".env",
    ):
        (folder / name).write_text("private")
    record.save(folder / "distillation.json")
    ranking.save(folder / "ranking.json")
    return folder
