"""Fixtures of every test that trains: teachers in folders, a configuration, and a trainer made of both."""

import logging

import pytest
import tiny
from transformers.utils.logging import get_logger

from hf_ctkd.training import DistillationConfig, DistillationTrainer


@pytest.fixture(scope="session")
def image_teacher(tmp_path_factory):
    return str(tiny.save_image_teacher(tmp_path_factory.mktemp("teachers") / "squares"))


@pytest.fixture(scope="session")
def text_teacher(tmp_path_factory):
    return str(tiny.save_text_teacher(tmp_path_factory.mktemp("teachers") / "words"))


@pytest.fixture
def config(tmp_path):
    def make(**changes):
        folders = {"output_dir": str(tmp_path / "student"), "cache_dir": str(tmp_path / "cache")}
        return DistillationConfig(**{**tiny.FEW_STEPS, **folders, **changes})

    return make


@pytest.fixture
def make(config):
    """Makes a trainer of a student without teachers; what is given takes the place of the usual."""

    def trainer(args=None, **changes):
        settings = {
            "model": tiny.image_student(),
            "args": args or config(),
            "train_dataset": tiny.image_rows(),
            "eval_dataset": tiny.image_rows(12, seed=5),
            "processing_class": tiny.processor(),
        }
        return DistillationTrainer(**{**settings, **changes})

    return trainer


@pytest.fixture
def logged(caplog):
    """What the modules that prepare training log, from warnings on."""
    loggers = [get_logger(f"hf_ctkd.training.{module}") for module in ("labelled_rows", "loss_context")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    caplog.set_level(logging.WARNING)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)
