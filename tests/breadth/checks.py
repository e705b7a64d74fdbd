"""What is checked of every architecture: it has all properties of a teacher, or is refused by name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from breadth.architectures import Architecture
from datasets import ClassLabel, Dataset
from PIL import Image

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import Teacher, compute_outputs
from hf_ctkd.types import ModelOutputs

TEXTS = ["a red cat runs near", "dog", "blue house sleeps far", "green"]
TOLERANCE = {"rtol": 1e-2, "atol": 1e-4}
"""A batch is computed in another order of sums than a single row; what a model draws or mixes in is larger by far."""


def rows(modality: str) -> list[Image.Image] | list[str]:
    if modality == "text":
        return TEXTS
    random = np.random.default_rng(0)
    return [Image.fromarray(random.integers(0, 255, (40, 40, 3)).astype(np.uint8)) for _ in range(4)]


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
        compute_outputs(teacher, _dataset(inputs), layers=True, progress=False)
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


def _dataset(inputs: list[Image.Image] | list[str]) -> TargetRows:
    column = "text" if isinstance(inputs[0], str) else "image"
    labels = {"label": [row % 2 for row in range(len(inputs))]}
    return TargetRows.of(
        Dataset.from_dict({column: inputs, **labels}).cast_column("label", ClassLabel(names=["a", "b"]))
    )


def _outputs(teacher: Teacher, inputs: list[Image.Image] | list[str]) -> ModelOutputs:
    return teacher.outputs(teacher.collate(inputs), layers=True)
