import pytest

from benchmarks.evidence import tune as module
from benchmarks.evidence.grid import PLAIN
from benchmarks.evidence.run import Suite
from benchmarks.evidence.settings import ARMS, FEATURE_LOSSES, KIND, SEEDS, Settings, Tuned
from benchmarks.evidence.student import RunSettings
from benchmarks.evidence.tune import FILE, tune
from hf_ctkd.records import read_json


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite whose trials are judged by a formula: the plain student likes 1e-2 and 900 steps, others 3e-3."""
    made = []

    def work_through(suite, jobs, until):
        for job in jobs:
            made.append(job)
            wanted = 1e-2 if job.run.method == PLAIN else 3e-3
            accuracy = 0.8 - abs(job.settings.learning_rate - wanted) + 0.1 * job.settings.label_smoothing
            accuracy += 0.01 * (job.settings.steps == 900) + 0.02 * (job.settings.loss_weight == 0.3)
            row = {name: "" for name in suite.runs.columns} | {
                "key": suite.key(job),
                "task": job.run.cell.task,
                "method": job.run.method,
                "seed": job.run.seed,
                "validation_accuracy": accuracy,
                "accuracy": 1 - accuracy,  # whoever looks at test rows chooses wrongly
            }
            suite.runs.add(suite.key(job), [row])

    monkeypatch.setattr(module, "work_through", work_through)
    monkeypatch.setattr("benchmarks.evidence.student.candidates", lambda folders: _Any())
    return Suite(tmp_path, RunSettings({"image": (), "text": ()}, str(tmp_path)), say=lambda line: None), made


class _Any(dict):
    def __missing__(self, name):
        class Candidate:
            revision = name

        return Candidate


def test_each_arm_gets_what_is_best_on_validation_rows_with_the_regularisation_of_the_plain_student(suite):
    suite, made = suite
    tuned = tune(suite)
    assert tuned.of(PLAIN, "image") == Settings(1e-2, 0.1, 0.1, 900)
    assert tuned.of("bss", "image") == Settings(1e-2, 0.1, 0.1)
    assert {job.settings.steps for job in made if job.run.method != PLAIN} == {300}
    for arm in ARMS[1:]:
        for kind in ("image", "text"):
            weight = 0.3 if arm in FEATURE_LOSSES else None
            assert tuned.of(arm, kind) == Settings(3e-3, 0.1, 0.1, loss_weight=weight)
    assert {job.run.seed for job in made} == set(SEEDS)
    assert Tuned.load(suite.folder / FILE).chosen == tuned.chosen


def test_trials_are_made_once(suite):
    suite, made = suite
    first = tune(suite)
    count = len(made)
    assert tune(suite).chosen == first.chosen
    assert len(made) == count > 0


def test_an_arm_without_an_entry_is_tuned_again_beside_the_trials_of_the_others(suite):
    suite, made = suite
    first = tune(suite)
    kept = {kind: {arm: own for arm, own in arms.items() if arm != "spectral"} for kind, arms in first.chosen.items()}
    trials = [trial for trial in read_json(suite.folder / FILE, KIND)["trials"] if trial["method"] != "spectral"]
    Tuned(kept).save(suite.folder / FILE, trials)
    (suite.folder / ".tuning" / "runs.csv").unlink()
    made.clear()
    assert tune(suite).chosen == first.chosen
    assert {job.run.method for job in made} == {"spectral"}
    methods = [trial["method"] for trial in read_json(suite.folder / FILE, KIND)["trials"]]
    assert len(methods) == len(trials) + len(made)
