from dataclasses import replace

import pytest

from benchmarks.evidence.grid import (
    CELLS,
    CONTROLS,
    DEFAULT,
    DETAILED,
    DETAILED_CONTROLS,
    FEWER,
    FEWEST,
    HEADLESS,
    LONGER,
    PLAIN,
    READS_LOGITS,
    SAME_TASK,
    SCORES,
    TEACHERS,
    Cell,
    Extras,
    is_cross_task,
    plan,
    runs_of,
)
from benchmarks.evidence.pretrained import NAME
from hf_ctkd.demo.tasks import TASKS
from hf_ctkd.demo.zoo import all_specs
from hf_ctkd.errors import InvalidArgumentError


def _modality(task):
    return TASKS[task][0] if task in TASKS else "text"


def test_grid_is_as_wide_as_promised():
    assert len({cell.task for cell in CELLS}) >= 6
    assert sum(cell.modality == "text" for cell in CELLS) == 3
    assert {cell.labels for cell in CELLS if cell.task == "digits"} == {50, 100, 300}
    for kind, names in TEACHERS.items():
        known = {spec.name: spec for spec in all_specs(kind)}
        names = tuple(name for name in names if name != NAME)
        assert len(names) >= 12 and set(names) <= set(known)
        assert set(FEWEST[kind]) <= set(FEWER[kind]) <= set(TEACHERS[kind])
        assert len({known[name].architecture for name in names}) >= 4
        assert {name for name in names if not known[name].head} == {name for name in names if name in HEADLESS}
        assert any(known[name].epochs == 0 for name in names)
    assert set(SAME_TASK) <= set(TASKS)


def test_every_seed_has_every_cell_before_the_next_has_any():
    runs = plan(seeds=3, modality=_modality)
    assert len(set(runs)) == len(runs)
    main = [run for run in runs if run.method in (DEFAULT, SCORES, *CONTROLS) and run.times == 1]
    assert [run.seed for run in main] == sorted(run.seed for run in main)
    for seed in range(3):
        for cell in CELLS:
            mine = [run for run in main if run.seed == seed and run.cell == cell]
            left_out = set() if cell in DETAILED else set(DETAILED_CONTROLS)
            assert {run.method for run in mine} == {DEFAULT, SCORES, *CONTROLS} - left_out
    first = [run.method for run in runs[: len(CELLS)]]
    assert set(first) == {PLAIN}, "self-training needs the plain student of its cell"


def test_other_methods_of_a_seed_come_after_its_main_claim_and_before_the_next_seed():
    runs = plan(seeds=2, modality=_modality)
    main = [number for number, run in enumerate(runs) if run.method in (DEFAULT, *CONTROLS) and run.times == 1]
    other = [number for number, run in enumerate(runs) if run.method == "probe" and run.times == 1]
    firsts = [number for number in main if runs[number].seed == 0]
    assert max(firsts) < min(other)
    assert max(number for number in other if runs[number].seed == 0) < min(set(main) - set(firsts))


def test_main_arms_run_at_three_times_their_steps_after_all_else_of_their_seed():
    runs = plan(seeds=2, modality=_modality)
    longer = [run for run in runs if run.times != 1]
    assert {run.times for run in longer} == {LONGER} == {3}
    assert {run.method for run in longer} == {PLAIN, DEFAULT, "input features, transported", "probe"}
    for cell in CELLS:
        mine = [run for run in longer if run.cell == cell and run.seed == 1]
        teachers = set(FEWEST[cell.modality])
        assert {run.teacher for run in mine if run.method == DEFAULT} == teachers
        assert {run.teacher for run in mine if run.method == "probe"} == (teachers if cell in DETAILED else set())
    places = [runs.index(run) for run in longer if run.seed == 0]
    assert max(number for number, run in enumerate(runs) if run.seed == 0 and run.times == 1) < min(places)
    assert max(places) < min(number for number, run in enumerate(runs) if run.seed == 1)
    assert {replace(run, times=1) for run in longer} <= set(runs), "each has its counterpart"


def test_encoders_without_a_head_teach_no_method_that_reads_classes():
    runs = plan(seeds=1, full=True, modality=_modality)
    taught = {run.method for run in runs if run.teacher in HEADLESS}
    assert taught and taught.isdisjoint(READS_LOGITS)


def test_full_takes_the_whole_zoo():
    runs = plan(seeds=1, full=True, modality=_modality)
    assert {spec.name for spec in all_specs("image")} <= {run.teacher for run in runs}


def test_tasks_teachers_and_losses_join_by_name():
    extras = Extras([Cell("mine:build", 8)], {"text": ("stranger",)}, ["mine:Loss"])
    runs = plan(seeds=1, extras=extras, modality=_modality)
    mine = [run for run in runs if run.cell.task == "mine:build"]
    assert {run.method for run in mine} >= {DEFAULT, *CONTROLS, "mine:Loss"}
    assert any(run.teacher == "stranger" and run.method == DEFAULT for run in mine)
    assert any(run.teacher == "stranger" and run.method == "mine:Loss" for run in mine)


def test_only_the_target_itself_is_no_other_task():
    assert not is_cross_task("digits", "handwriting")
    assert is_cross_task("digits", "handwriting-pairs")
    assert is_cross_task("digit-families", "handwriting")
    assert is_cross_task("mine:build", "handwriting")


def test_no_seed_is_refused():
    with pytest.raises(InvalidArgumentError, match="`seeds` must be at least 1, got 0"):
        plan(seeds=0, modality=_modality)


def test_only_the_named_arms_run():
    runs = plan(seeds=1, modality=lambda task: Cell(task, 0).modality)
    assert runs_of(runs, []) == runs
    assert {run.method for run in runs_of(runs, ["spectral", PLAIN])} == {"spectral", PLAIN}
    with pytest.raises(InvalidArgumentError, match="'spektral' is no arm of the plan. Choose from .*spectral"):
        runs_of(runs, ["spektral"])
