"""Pretrained models out of packages under short names.

A student of the first two layers of all-MiniLM-L6-v2, or a MobileNetV2 for small pictures, is what a user has:
pretrained, small, and to be taught by more.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.evidence.packages import debian, e5, efficientnet, emoji, mobilenet, setfit
from hf_ctkd.demo.pretrained import FAMILY, INSTALL, STUDENT, encoder_folder, student_folder

NAME = FAMILY
"""The encoder of which the student of texts has the first layers."""
ONE_LAYER = f"{FAMILY}-1"


@dataclass(frozen=True)
class PackagedModel:
    """A model that a package carries.

    Args:
        name: its short name, and that of its folder.
        install: how to get its package.
        source: finds its file; None where the package is not installed.
        make: makes its folder in a folder of models, if it is missing.
    """

    name: str
    install: str
    source: Callable[[], Path | None]
    make: Callable[[Path], object]


def pretrained_zoo(models: Path) -> str | None:
    """A folder that holds the encoder under its short name; None where its package is not installed.

    Args:
        models: folder for the link, made if missing.
    """
    source = encoder_folder()
    if source is None:
        return None
    models.mkdir(parents=True, exist_ok=True)
    link = models / NAME
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(source, target_is_directory=True)
    return str(models)


MODELS = (
    PackagedModel(NAME, INSTALL, encoder_folder, pretrained_zoo),
    PackagedModel(STUDENT, INSTALL, encoder_folder, student_folder),
    PackagedModel(ONE_LAYER, INSTALL, encoder_folder, partial(student_folder, layers=1)),
    PackagedModel(e5.NAME, e5.INSTALL, e5.source, e5.e5_folder),
    PackagedModel(mobilenet.NAME, mobilenet.INSTALL, mobilenet.source, mobilenet.mobilenet_folder),
    PackagedModel(efficientnet.NAME, efficientnet.INSTALL, efficientnet.source, efficientnet.efficientnet_folder),
)
"""Students and teachers."""


def missing_packages(models: Path) -> dict[str, str]:
    """What cannot run on this machine: the name of a model, a task or an arm -> how to install it.

    Models whose packages are installed are made, so that no two processes make one at once.

    Args:
        models: folder for models under their short names.
    """
    missing = {}
    for model in MODELS:
        if model.source() is None and not (models / model.name).is_dir():
            missing[model.name] = model.install
        else:
            model.make(models)
    for task in (debian, emoji):
        if not task.available():
            missing[task.TASK] = task.INSTALL
    if not setfit.available():
        missing[setfit.NAME] = setfit.INSTALL
    return missing
