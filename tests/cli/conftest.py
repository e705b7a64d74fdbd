"""Tiny rows, teachers and students on disk, and the command line called in this process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as PILImage
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessorPil,
)

from hf_ctkd.cli.main import main
from hf_ctkd.demo.architectures import wordpiece_tokenizer

SMALL = "--use_cpu --disable_tqdm=true --max_steps=2 --bootstrap_resamples=10 --save_strategy=no".split()  # noqa: SIM905
NAMES = ["dark", "bright", "striped"]
TEXTS = [f"the {color} {thing} number {n}" for n in range(4) for color in ("red", "green") for thing in ("cat", "dog")]


def image_rows(count: int, *, labels=lambda row: row % 3, names=NAMES, seed: int = 0) -> Dataset:
    generator = np.random.default_rng(seed)
    images = []
    for row in range(count):
        pixels = generator.integers(0, 60, (8, 8)) + (150 if row % 3 == 1 else 0)
        if row % 3 == 2:
            pixels[::2] += 150
        images.append(PILImage.fromarray(pixels.astype(np.uint8)))
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": images, "label": [labels(row) for row in range(count)]}, features=features)


def text_rows(names: bool = False) -> Dataset:
    labels = ["cat" if "cat" in text else "dog" for text in TEXTS]
    if names:
        return Dataset.from_dict({"text": TEXTS, "label": labels})
    features = Features({"text": Value("string"), "label": ClassLabel(names=["cat", "dog"])})
    return Dataset.from_dict({"text": TEXTS, "label": labels}, features=features)


def write_splits(folder: Path, **splits: Dataset) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        rows.to_parquet(folder / f"{name}.parquet")
    return str(folder)


def save_resnet(folder: Path, classes: int, *, seed: int = 0, headless: bool = False) -> str:
    torch.manual_seed(seed)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 8], depths=[1, 1], layer_type="basic", num_labels=classes)
    model = ResNetForImageClassification(config)
    (model.base_model if headless else model).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(folder)
    return str(folder)


def save_bert(folder: Path, classes: int = 2) -> str:
    torch.manual_seed(0)
    tokenizer = wordpiece_tokenizer(TEXTS, vocabulary=60, length=16)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=classes,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(autouse=True)
def _own_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """Models and rows that no test changes."""
    shelf = tmp_path_factory.mktemp("shelf")
    write_splits(shelf / "squares", train=image_rows(24), test=image_rows(12, seed=1))
    write_splits(shelf / "animals", train=text_rows(), validation=text_rows())
    save_resnet(shelf / "zoo" / "four", 4)
    save_resnet(shelf / "zoo" / "encoder", 2, seed=1, headless=True)
    save_resnet(shelf / "student", 3, seed=2)
    save_bert(shelf / "bert")
    return shelf


@pytest.fixture
def run(capsys):
    """Call the command line; gives exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def select(run, shelf):
    def call(*words: object, dataset: object = None, zoo: object = None):
        rows = shelf / "squares" if dataset is None else dataset
        candidates = [] if zoo is False else ["--zoo", shelf / "zoo" if zoo is None else zoo]
        return run("select", "--dataset", rows, *candidates, *words)

    return call


@pytest.fixture
def distill(run, shelf):
    def call(*words: object, dataset: object = None, student: object = None, teachers: object = None):
        taught = ["--teachers", shelf / "zoo" / "four" if teachers is None else teachers]
        return run(
            "distill",
            "--dataset",
            shelf / "squares" if dataset is None else dataset,
            "--student",
            shelf / "student" if student is None else student,
            *([] if teachers is False else taught),
            *[
                "--use_cpu",
                "--disable_tqdm",
                "true",
                "--max_steps",
                "2",
                "--bootstrap_resamples",
                "10",
                "--save_strategy",
                "no",
            ],
            *words,
        )

    return call


@pytest.fixture(scope="session")
def distilled(shelf, tmp_path_factory) -> Path:
    """The folder of a finished student, made once; copy it before changing it."""
    folder = tmp_path_factory.mktemp("distilled") / "student"
    words = ["--student", shelf / "student", "--teachers", shelf / "zoo" / "four", "--output_dir", folder]
    cache = ["--cache_dir", tmp_path_factory.mktemp("cache")]
    assert main(["distill", "--dataset", *map(str, [shelf / "squares", *words, *SMALL, *cache])]) == 0
    return folder


@pytest.fixture
def read_json():
    return lambda path: json.loads(Path(path).read_text())


# Test modules cannot import this file by name, so what they build with comes as fixtures.
@pytest.fixture(name="image_rows")
def _image_rows():
    return image_rows


@pytest.fixture(name="text_rows")
def _text_rows():
    return text_rows


@pytest.fixture(name="write_splits")
def _write_splits():
    return write_splits


@pytest.fixture(name="save_resnet")
def _save_resnet():
    return save_resnet
