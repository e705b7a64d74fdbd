"""What is checked of every architecture: it has all properties of a teacher, or is refused by name."""

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from breadth.architectures import Architecture
from breadth.tiny_configs import LABELS
from datasets import ClassLabel, Dataset
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import CTKDError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import Teacher, compute_outputs
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.types import ModelOutputs

TEXTS = ["a red cat runs near", "dog", "blue house sleeps far", "green", "a dog runs", "far"]
TOLERANCE = {"rtol": 1e-2, "atol": 1e-4}
"""A batch is computed in another order of sums than a single row; what a model draws or mixes in is larger by far."""


def rows(modality: str) -> list[Image.Image] | list[str]:
    if modality == "text":
        return TEXTS
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 40, 3)).astype(np.uint8)) for _ in range(6)]


def check_teacher(architecture: Architecture, folder: Path) -> str | None:
    """The reason of its refusal, None for a teacher that has every property."""
    try:
        architecture.save(folder)
    except ImportError as error:
        pytest.skip(f"needs a library that is not installed: {error}")
    candidate = next(folder_teachers(folder))
    inputs = rows(architecture.modality)
    random_state = torch.get_rng_state()
    try:
        teacher = Teacher.load(candidate, architecture.modality)
        compute_outputs(teacher, TargetRows.of(_labelled(inputs, 2)), layers=True, progress=False)
    except TeacherUnavailableError as error:
        assert error.code is not ProblemCode.UNKNOWN
        return str(error)
    outputs = _outputs(teacher, inputs)
    again, alone = _outputs(teacher, inputs), [_outputs(teacher, [row]) for row in inputs]
    assert torch.equal(random_state, torch.get_rng_state()), "the caller's random numbers were moved"
    features = outputs.features
    assert features.ndim == 2 and len(features) == len(inputs)
    assert torch.isfinite(features).all()
    torch.testing.assert_close(again.features, features, rtol=0, atol=0)
    torch.testing.assert_close(torch.cat([row.features for row in alone]), features, **TOLERANCE)
    assert len(outputs.layers) >= 2
    for index, layer in enumerate(outputs.layers):
        assert layer.ndim == 2 and torch.isfinite(layer).all()
        torch.testing.assert_close(torch.cat([row.layers[index] for row in alone]), layer, **TOLERANCE)
    assert (outputs.logits is not None) == architecture.classifier
    if outputs.logits is not None:
        assert teacher.label_space is not None and outputs.logits.shape == (len(inputs), len(teacher.label_space))
        torch.testing.assert_close(teacher.reader.classify(features), outputs.logits)
    return None


def check_student(architecture: Architecture, folder: Path, teacher: str) -> str | None:
    """The reason why it cannot be a student, None for one that trains, is saved, and predicts the same when opened."""
    inputs = rows(architecture.modality)
    dataset = _labelled(inputs, LABELS)
    processing_class = architecture.processing_class()
    try:
        model = architecture.build()
        trainer = DistillationTrainer(
            model=model,
            args=_arguments(folder),
            processing_class=processing_class,
            teachers=[teacher],
            train_dataset=dataset,
        )
        before = [parameter.detach().clone() for parameter in model.parameters()]
        trainer.train()
    except ImportError as error:
        pytest.skip(f"needs a library that is not installed: {error}")
    except CTKDError as error:
        return str(error)
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
    assert all(np.isfinite(entry["loss"]) for entry in trainer.state.log_history if "loss" in entry)
    trainer.save_model()
    torch.manual_seed(0)
    predicted = trainer.predict(dataset).predictions
    torch.manual_seed(0)
    torch.testing.assert_close(
        _plain_predictions(architecture, folder, inputs), torch.as_tensor(predicted), **TOLERANCE
    )
    return None


def _arguments(folder: Path) -> DistillationConfig:
    return DistillationConfig(
        str(folder),
        max_steps=3,
        per_device_train_batch_size=4,
        per_device_eval_batch_size=8,  # one batch, as some models read the padding of others
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        report_to="none",
        bootstrap_resamples=20,
        cache_dir=str(folder / "cache"),
    )


def _plain_predictions(architecture: Architecture, folder: Path, inputs: list[Image.Image] | list[str]) -> torch.Tensor:
    """As somebody without this package opens the student."""
    if architecture.modality == "text":
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        batch = AutoTokenizer.from_pretrained(folder)(inputs, padding=True, return_tensors="pt")
    else:
        model = AutoModelForImageClassification.from_pretrained(folder)
        batch = AutoImageProcessor.from_pretrained(folder)(inputs, return_tensors="pt")
    accepted = inspect.signature(model.forward).parameters
    with torch.no_grad():
        outputs = model.eval()(**{name: tensor for name, tensor in batch.items() if name in accepted})
    return outputs.get("logits", outputs.get("last_hidden_state"))


def _labelled(inputs: list[Image.Image] | list[str], classes: int) -> Dataset:
    column = "text" if isinstance(inputs[0], str) else "image"
    dataset = Dataset.from_dict({column: inputs, "label": [row % classes for row in range(len(inputs))]})
    return dataset.cast_column("label", ClassLabel(names=["a", "b", "c"][:classes]))


def _outputs(teacher: Teacher, inputs: list[Image.Image] | list[str]) -> ModelOutputs:
    return teacher.outputs(teacher.collate(inputs), layers=True)
