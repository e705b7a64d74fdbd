"""Trackers of transformers record every term of the loss and each teacher's weight, under the same names."""

from pathlib import Path

import pytest
import tiny
from command_fixtures import _own_folders  # noqa: F401
from tiny_shelf import SMALL, image_rows, save_resnet, write_splits
from training_fixtures import config, make  # noqa: F401

from hf_ctkd import CommitteeLoss
from hf_ctkd.cli.main import main

from .trackers import tensorboard_run, trackio_runs, wandb_runs

pytestmark = pytest.mark.filterwarnings("ignore")  # of the trackers about their own dependencies


@pytest.fixture
def wandb(tmp_path, monkeypatch):
    """Ends what Weights & Biases records, and reads it."""
    for name, value in {"WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "WANDB_SILENT": "true"}.items():
        monkeypatch.setenv(name, value)
    package = pytest.importorskip("wandb")

    def recorded():
        package.finish()
        package.teardown()  # writes the files to their ends
        return wandb_runs(tmp_path)

    yield recorded
    package.finish()
    package.teardown()  # which makes it read its settings anew


@pytest.fixture(scope="module")
def trackio_folder(tmp_path_factory):
    """Where all runs of Trackio are written: it reads the variable when it is imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACKIO_DIR", str(tmp_path_factory.mktemp("trackio")))
        yield Path(pytest.importorskip("trackio.utils").TRACKIO_DIR)


@pytest.fixture
def trackio(trackio_folder):
    """Ends what Trackio records, and reads a project."""
    package = pytest.importorskip("trackio")

    def recorded(project):
        package.finish()
        return trackio_runs(trackio_folder / f"{project}.db")

    return recorded


@pytest.fixture
def trained(make, config, tmp_path):  # noqa: F811
    """Trains with a tracker on two teachers whose folders are called alike, and evaluates; gives the trainer."""

    def train(tracker, **settings):
        teachers = [str(tiny.save_image_teacher(tmp_path / parent / "squares.v1")) for parent in ("a", "b")]
        trainer = make(config(report_to=tracker, **settings), teachers=teachers, loss=CommitteeLoss())
        trainer.train()
        trainer.evaluate()
        return trainer

    return train


def _expected(trainer):
    """What `Trainer` logged in training, by step, under a tracker's names."""
    logs = [log for log in trainer.state.log_history if "task_loss" in log]
    assert len(logs) == 4
    assert {"loss", "committee", "committee_probe", "weight/squares.v1", "weight/squares.v1 (2)"} <= logs[0].keys()
    return {log["step"]: {f"train/{name}": value for name, value in log.items() if name != "step"} for log in logs}


def _check(recorded, trainer):
    for step, values in _expected(trainer).items():
        assert recorded[step].keys() >= values.keys()
        assert {name: recorded[step][name] for name in values} == pytest.approx(values, rel=1e-5)
    (evaluation,) = [log for log in trainer.state.log_history if "eval_accuracy" in log]
    last = recorded[trainer.state.global_step]
    assert last["eval/accuracy"] == pytest.approx(evaluation["eval_accuracy"])


def test_tensorboard(trained, tmp_path):
    pytest.importorskip("tensorboard")
    trainer = trained("tensorboard")
    _check(tensorboard_run(tmp_path / "student"), trainer)


def test_weights_and_biases(wandb, trained):
    trainer = trained("wandb", run_name="mine")
    settings, recorded = wandb()["mine"]
    _check(recorded, trainer)
    assert settings["distillation_weight"] == 1.0
    assert settings["model/num_parameters"] == trainer.student.num_parameters()


def test_trackio(trackio, trained):
    trainer = trained("trackio", run_name="mine", project="one-run")
    ((name, (settings, recorded)),) = trackio("one-run").items()
    assert name == "mine"
    _check(recorded, trainer)
    assert settings["distillation_weight"] == 1.0
    assert settings["model/num_parameters"] == trainer.student.num_parameters()


@pytest.fixture
def distill(tmp_path):
    """Calls `hf-ctkd distill` with a baseline and the trackers and flags that are given."""

    def call(*words):
        rows = write_splits(tmp_path / "rows", train=image_rows(24), test=image_rows(12, seed=1))
        student, teacher = save_resnet(tmp_path / "start", 3), save_resnet(tmp_path / "four", 4)
        given = ["--dataset", rows, "--student", student, "--teachers", teacher, *SMALL, "--logging_steps", "1"]
        return main(["distill", *given, "--output_dir", "student", "--baseline", "--report_to", *words])

    return call


def test_student_and_baseline_have_a_run_each_in_every_tracker_that_is_named(wandb, trackio, distill):
    assert distill("wandb", "trackio", "--project", "two-runs") == 0
    for runs in (wandb(), trackio("two-runs")):
        name, baseline = sorted(runs, key=len)
        assert name.startswith("student-")
        assert baseline == f"{name}-without_distillation"
        steps, without = runs[name][1], runs[baseline][1]
        assert {"train/row_transport", "train/weight/four"} <= steps[1].keys()
        assert "train/row_transport" not in without[1]
        assert "eval/accuracy" in steps[2]
        assert "eval/accuracy" in without[2]
