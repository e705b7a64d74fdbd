"""Zoos of tiny real models in folders and on the loopback Hub, and rows to rank them on."""

from pathlib import Path

import numpy as np
import pytest
from datasets import Dataset
from safetensors.torch import load_file, save_file
from teacher_fixtures import passes  # noqa: F401
from tiny_models import encoded, image_processor, image_rows, tiny_bert, tiny_resnet

CLASSES = ("dark", "stripes", "bright")


@pytest.fixture(scope="session")
def make_teacher():
    """Write a tiny image teacher into a folder."""

    def make(folder: Path, *, head: bool = True, seed: int = 0, labels: int = 4, license: str = "mit") -> Path:
        model = tiny_resnet(labels, seed)
        (model if head else model.base_model).save_pretrained(folder)
        image_processor().save_pretrained(folder)
        (folder / "README.md").write_text(f"---\nlicense: {license}\n---\n# A teacher\n")
        return folder

    return make


def _poison(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.1.bias"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="session")
def zoo(tmp_path_factory, make_teacher) -> Path:
    """Three teachers that work, one of them headless, and five that do not."""
    folder = tmp_path_factory.mktemp("zoo")
    make_teacher(folder / "first", seed=1)
    make_teacher(folder / "second", seed=2, labels=7)
    make_teacher(folder / "headless", head=False, seed=3)
    _poison(make_teacher(folder / "bad-nan"))
    tiny_bert().save_pretrained(folder / "bad-modality")
    (make_teacher(folder / "bad-processor") / "preprocessor_config.json").unlink()
    (make_teacher(folder / "bad-config") / "config.json").write_text("{")
    weights = make_teacher(folder / "bad-weights") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return folder


@pytest.fixture
def rows() -> Dataset:
    """Sixty small pictures of three kinds, in turn; every tenth row has no label."""
    generator = np.random.default_rng(0)
    stripes = np.tile([0, 0, 250, 250], (8, 2))
    kinds = (np.full((8, 8), 40), stripes, np.full((8, 8), 220))
    contents = [encoded(kinds[row % 3] + generator.normal(0, 30, (8, 8))) for row in range(60)]
    labels = [-1 if row % 10 == 9 else row % 3 for row in range(60)]
    return image_rows(contents, labels, names=CLASSES)
