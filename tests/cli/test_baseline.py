import numpy as np
import pytest
from tiny_shelf import image_rows

from hf_ctkd.cli import baseline as module
from hf_ctkd.cli.baseline import train_baseline
from hf_ctkd.cli.students import load_student
from hf_ctkd.data import TargetRows
from hf_ctkd.records import DistillationRecord
from hf_ctkd.tasks import Classification
from hf_ctkd.teachers import LoadOptions
from hf_ctkd.training import DistillationConfig


@pytest.fixture
def train(tmp_path, shelf):
    def call(*, max_steps: int = 2, **named):
        config = DistillationConfig(
            str(tmp_path / "out"),
            max_steps=max_steps,
            use_cpu=True,
            disable_tqdm=True,
            bootstrap_resamples=10,
            save_strategy="no",
        )
        rows = TargetRows.of(image_rows(24, labels=lambda row: row % 3 if row < 12 else -1))
        load = lambda folder: load_student(  # noqa: E731
            str(folder or shelf / "student"), "image", rows.label_space, options=LoadOptions()
        )
        return train_baseline(
            load, config, task=Classification(), rows=rows, evaluation=image_rows(12, seed=1), **named
        )

    return call


def test_it_learns_from_labelled_rows_alone_for_as_many_steps(train, tmp_path):
    baseline = train()
    record = DistillationRecord.load(tmp_path / "out" / "distillation.json")
    assert (record.task.train_rows, record.task.labelled_rows) == (12, 12)
    assert (record.training["steps"], record.loss.name, record.teachers) == (2, "none", ())
    assert baseline.results == record.results and baseline.predictions.shape == (12, 3)


def test_a_finished_one_is_kept_when_the_run_goes_on(train, monkeypatch):
    first = train()
    monkeypatch.setattr(module.DistillationTrainer, "train", None)
    kept = train(again=False)
    assert kept.results == first.results
    assert np.array_equal(kept.predictions, first.predictions)
    with pytest.raises(TypeError):
        train(again=False, max_steps=3)
    with pytest.raises(TypeError):
        train()
