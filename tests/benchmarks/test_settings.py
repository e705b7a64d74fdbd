from benchmarks.evidence.grid import CONTROLS, METHODS, PLAIN, STEPS
from benchmarks.evidence.settings import (
    ARMS,
    OTHER_STEPS,
    PLAIN_AT_STEPS,
    RATES,
    SEEDS,
    TUNED_ON,
    WEIGHTS,
    Settings,
    Tuned,
    best,
    first_round,
    second_round,
    steps_round,
    weights_round,
)


def test_best_is_the_highest_mean_over_seeds():
    good, lucky = Settings(1e-3), Settings(1e-2)
    assert best([(good, 0.8), (lucky, 0.9), (good, 0.8), (lucky, 0.6)]) == good


def test_no_arm_has_more_trials_than_the_plain_student():
    for kind in TUNED_ON:
        longer = steps_round(kind, Settings(label_smoothing=0.1))
        plain = [*first_round(kind), *longer]
        others = second_round(kind, Settings(label_smoothing=0.1, steps=900))
        for arm in ARMS[1:]:
            mine = [settings for run, settings in others if run.method == arm]
            assert {one.learning_rate for one in mine} == set(RATES[kind])
            places = {(run.cell, run.seed) for run, _ in others if run.method == arm}
            assert places == {(run.cell, run.seed) for run, _ in plain} and len(places) == 2 * len(SEEDS)
            assert 0 < len(mine) <= len(plain)
            assert all(one.label_smoothing == 0.1 and one.steps == STEPS for one in mine)
        assert {one.steps for _, one in longer} == set(OTHER_STEPS) == {100, 900}
        assert {(one.learning_rate, one.label_smoothing) for _, one in longer} == {(rate, 0.1) for rate in RATES[kind]}
        assert {run.method for run, _ in longer} == {PLAIN}
        assert all(run.seed in SEEDS and min(SEEDS) >= 1000 for run, _ in (*plain, *others))
        assert all(bool(run.teacher) == (run.method not in CONTROLS) for run, _ in others)


def test_a_loss_of_features_tries_the_weights_that_are_not_its_own_at_its_best_rate():
    for kind in TUNED_ON:
        plain = len([*first_round(kind), *steps_round(kind, Settings())])
        for arm, usual in {"inverted projection": 0.1, "relationship matching": 1.0, "spectral": 1.0}.items():
            trials = weights_round(kind, arm, Settings(0.02))
            assert {one.loss_weight for _, one in trials} == set(WEIGHTS) - {usual}
            assert {one.learning_rate for _, one in trials} == {0.02}
            assert len(trials) + len(second_round(kind, Settings(), [arm])) <= plain


def test_settings_are_written_down_without_what_was_not_set():
    assert "loss_weight" not in Settings().recorded()
    assert Settings(**Settings(loss_weight=0.3).recorded()) == Settings(loss_weight=0.3)


def test_arms_that_were_not_tuned_take_the_settings_of_their_kin(tmp_path):
    chosen = {"image": {PLAIN: Settings(1e-3), "default": Settings(2e-3), "inverted projection": Settings(3e-3)}}
    Tuned(chosen).save(tmp_path / "tuning.json", [])
    tuned = Tuned.load(tmp_path / "tuning.json")
    found = {arm: tuned.of(arm, "image").learning_rate for arm in (*METHODS, *CONTROLS)}
    assert found["probe"] == found["label map"] == 2e-3
    assert found["inverted projection"] == 3e-3
    assert found["bss"] == 1e-3
    assert tuned.of("default", "text") == Settings()
    assert Tuned.load(tmp_path / "none.json").of(PLAIN, "image") == Settings()


def test_only_the_plain_student_has_a_number_of_steps_of_its_own(tmp_path):
    chosen = {"text": {PLAIN: Settings(1e-3, steps=900), PLAIN_AT_STEPS: Settings(2e-3)}}
    Tuned(chosen).save(tmp_path / "tuning.json", [])
    tuned = Tuned.load(tmp_path / "tuning.json")
    assert tuned.of(PLAIN, "text") == Settings(1e-3, steps=900)
    assert tuned.of("bss", "text") == Settings(2e-3)
    assert tuned.of("default", "text") == Settings(1e-3)
