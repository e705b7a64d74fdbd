from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import image_processor, save
from tiny_suite import build, build_pictures
from transformers import MobileNetV2Config, MobileNetV2Model

from benchmarks.evidence import pretrained_cell, run, student
from benchmarks.evidence.grid import DEFAULT, PLAIN
from benchmarks.evidence.packages import setfit
from benchmarks.evidence.pretrained_cell import (
    AFT,
    ALL,
    ARMS,
    B_TUNING,
    CELLS,
    CONTROL,
    GAP,
    LINEAR_PROBE,
    PICTURES,
    PROBES,
    RANDOM_WORDS,
    SELF_TRAINING,
    WIDE_GAP,
    WITH_ALL_LABELS,
    WORDS,
    Job,
    Recipe,
    Workplace,
    arms_of,
    cells_named,
    chosen_by,
    draw_trials,
    key_of,
    measure,
    packed,
    plan,
    rate_trials,
    recipes_of,
    rows_of,
    start_from_linear_probe,
    task_with,
    train,
    trials,
    unpacked,
)
from benchmarks.evidence.pretrained_report import section
from hf_ctkd.demo.pretrained import STUDENT, pretrained_student
from hf_ctkd.demo.students import build_student
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import RowTransportLoss

RECIPE = Recipe(1e-3)


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A tiny encoder and a tiny student for a task of two kinds of texts."""
    monkeypatch.setattr(pretrained_cell, "STEPS", 2)
    monkeypatch.setattr(pretrained_cell, "task_with", lambda name, labels, seed: build(labels=8, seed=seed))
    # Threads in place of processes: starting one takes longer than all of these tests.
    monkeypatch.setattr(run, "ProcessPoolExecutor", lambda count, context, initializer: ThreadPoolExecutor(1))
    student.candidates.cache_clear()
    for seed, name in enumerate((STUDENT, GAP.teacher)):
        model, tokenizer = build_student(build(labels=8, seed=0), seed=seed)
        for part in (model.base_model, tokenizer):
            part.save_pretrained(tmp_path / "models" / name)
    lines = []
    folders = (str(tmp_path / folder) for folder in ("models", "work"))
    others = {cell.student if cell.task == GAP.task else cell.task for cell in CELLS if cell != GAP}
    missing = dict.fromkeys(others, "pip install it")
    return Workplace(tmp_path / "results", *folders, missing, processes=1, say=lines.append), lines


def chosen(*cells):
    return {cell.name: {arm: RECIPE for arm in ARMS} for cell in cells}


def test_plan_decides_the_goals_first():
    jobs = plan(CELLS, chosen(*CELLS))
    assert len(set(jobs)) == len(jobs)
    students = [job for job in jobs if job.arm not in PROBES]
    assert [job.arm for job in jobs[:3]] == list(PROBES) and len(jobs) - len(students) == len(CELLS) * 3 * 3
    arms = {cell: set(cell.arms or ARMS) for cell in CELLS}
    few = students[: 3 * sum(map(len, arms.values()))]
    assert {(job.cell, job.labels) for job in few} == {(cell, cell.labels[0]) for cell in CELLS}
    assert {cell: {job.arm for job in few if job.cell == cell} for cell in CELLS} == arms
    assert {job.arm for job in students if job.labels == ALL} == set(WITH_ALL_LABELS)
    assert {job.plain for job in jobs if job.arm == SELF_TRAINING} == {RECIPE}
    assert {job.plain for job in jobs if job.arm != SELF_TRAINING} == {None}


def test_self_training_is_tuned_after_the_student_that_it_learns_from(monkeypatch):
    first, second = trials(GAP, {}), trials(GAP, {PLAIN: RECIPE})
    assert {job.seed for job in second} == {1000} and {job.labels for job in second} == {GAP.labels[0]}
    fixed = {WORDS, RANDOM_WORDS}
    assert {job.arm for job in second} == set(ARMS) - fixed, "all but the former default have a choice of steps"
    assert {job.arm for job in first} == set(ARMS) - fixed - {SELF_TRAINING}
    for arm in set(ARMS) - fixed:
        recipes = [job.recipe for job in second if job.arm == arm]
        weights = ARMS[arm].weights or (None,)
        assert {(recipe.times, recipe.weight) for recipe in recipes} == set(product((1, 3), weights)), "the same choice"
    monkeypatch.setattr(pretrained_cell, "RATES", (1e-4, 3e-4))
    first, second = trials(GAP, {}), trials(GAP, {PLAIN: RECIPE})
    assert {job.arm for job in first} == set(ARMS) - {SELF_TRAINING} and {job.arm for job in second} == set(ARMS)


@pytest.mark.parametrize("arm", [*ARMS, *PROBES])
def test_every_arm_gives_a_row(workplace, arm, monkeypatch):
    workplace, _ = workplace
    monkeypatch.setattr(setfit, "predictions", lambda folder, task, **options: (np.zeros(10), np.zeros(10)))
    row = train(workplace, Job(GAP, arm, "200", 0, replace(RECIPE, times=3), plain=RECIPE))
    assert set(row) == set(pretrained_cell.COLUMNS) and row["error"] == "" and row["cell"] == GAP.name
    assert unpacked(row["correct"], row["test_rows"]).mean() == pytest.approx(row["accuracy"])


@pytest.mark.parametrize("arm", [*arms_of(PICTURES), *PROBES])
def test_every_arm_of_pictures_gives_a_row(tmp_path, monkeypatch, arm):
    monkeypatch.setattr(pretrained_cell, "STEPS", 2)
    monkeypatch.setattr(pretrained_cell, "task_with", lambda name, labels, seed: build_pictures(labels=8, seed=seed))
    config = MobileNetV2Config(depth_multiplier=0.1, image_size=32, finegrained_output=False)
    for seed, name in enumerate((PICTURES.student, PICTURES.teacher)):
        torch.manual_seed(seed)
        model = MobileNetV2Model(config)
        model(torch.rand(16, 3, 32, 32))  # statistics of the batch norms: without, all features are almost zero
        save(tmp_path / "models" / name, model, image_processor(32))
    student.candidates.cache_clear()
    workplace = Workplace(tmp_path / "results", str(tmp_path / "models"), str(tmp_path / "work"))
    recipe = replace(RECIPE, weight=1e-3 if arm == B_TUNING else None)
    row = train(workplace, Job(PICTURES, arm, "80", 0, recipe, plain=RECIPE if arm == SELF_TRAINING else None))
    assert row["error"] == "" and row["test_rows"] == 10 and 0 <= row["accuracy"] <= 1


def test_other_learning_rates_are_tried_for_the_plain_student_and_the_default_alike():
    jobs = rate_trials(PICTURES)
    assert {(job.arm, job.recipe.learning_rate, job.recipe.times) for job in jobs} == set(
        product((PLAIN, DEFAULT), (1e-4, 1e-3), (3,))
    )
    assert {(job.labels, job.seed) for job in jobs} == {("80", 1000)}, "no measured run has the seed"


def test_what_needs_no_good_teacher_is_tried_on_further_draws_as_it_was_tuned():
    chosen = {PLAIN: RECIPE, CONTROL: replace(RECIPE, times=3), DEFAULT: RECIPE, AFT: RECIPE}
    jobs = draw_trials(PICTURES, chosen)
    assert {(job.arm, job.recipe.times, job.labels) for job in jobs} == {
        (PLAIN, 1, "80"), (CONTROL, 3, "80"), (DEFAULT, 1, "80"), (PLAIN, 3, ALL), (CONTROL, 3, ALL),
    }  # fmt: skip
    assert {job.labels for job in draw_trials(WIDE_GAP, chosen)} == {"200"}
    seeds = {job.seed for job in jobs if job.labels == "80"}
    assert len(seeds) == 4 and not seeds & {1000, *(job.seed for job in plan([PICTURES], {PICTURES.name: chosen}))}
    assert draw_trials(PICTURES, {}) == []


def test_a_cell_may_have_weights_of_its_own():
    weights = {cell.name: {recipe.weight for recipe in recipes_of(cell, B_TUNING)} for cell in (GAP, PICTURES)}
    assert weights == {GAP.name: {1e-4, 1e-3, 1e-2}, PICTURES.name: {1.0, 10.0, 100.0}}
    assert {recipe.weight for recipe in recipes_of(PICTURES, AFT)} == set(ARMS[AFT].weights)


def test_cells_are_measured_by_name(workplace, monkeypatch):
    workplace, lines = workplace
    assert cells_named([]) == list(CELLS) and cells_named([PICTURES.name]) == [PICTURES]
    with pytest.raises(InvalidArgumentError, match="`--cell` must be one of Debian sections, .*, got 'Emoji'"):
        cells_named([GAP.name, "Emoji"])
    measure(workplace, cells=[PICTURES], seconds=None)
    assert not any("missing" in line for line in lines) and workplace.runs.rows() == []


def test_a_new_arm_is_tuned_alone_with_its_weight(workplace, monkeypatch):
    workplace, lines = workplace
    monkeypatch.setattr(pretrained_cell, "SEEDS", (0,))
    monkeypatch.setattr(pretrained_cell, "train", _judged_by_formula)
    monkeypatch.setattr(pretrained_cell, "ARMS", {PLAIN: ARMS[PLAIN]})
    measure(workplace, seconds=None)
    monkeypatch.setattr(pretrained_cell, "ARMS", {arm: ARMS[arm] for arm in (PLAIN, AFT)})
    tried = len(workplace.trials.rows())
    measure(workplace, seconds=None)
    assert chosen_by(workplace)[GAP.name][AFT] == Recipe(3e-4, 3, 3.0)
    assert len(workplace.trials.rows()) - tried == 2 * len(ARMS[AFT].weights)
    assert {row["weight"] for row in rows_of(workplace) if row["arm"] == AFT} == {"3.0"}
    monkeypatch.setattr(pretrained_cell, "RATES", (1e-4,))
    assert chosen_by(workplace) == {}, "what was tuned among other rates counts no longer"


def test_an_arm_without_its_package_is_left_out_and_keeps_its_recipe(workplace, monkeypatch):
    workplace, lines = workplace
    monkeypatch.setattr(pretrained_cell, "ARMS", {arm: ARMS[arm] for arm in (PLAIN, setfit.NAME)})
    monkeypatch.setattr(pretrained_cell, "SEEDS", (0,))
    monkeypatch.setattr(pretrained_cell, "train", _judged_by_formula)
    measure(workplace, seconds=None)
    assert set(chosen_by(workplace)[GAP.name]) == {PLAIN, setfit.NAME}
    without = replace(workplace, missing={**workplace.missing, setfit.NAME: "pip install setfit"})
    monkeypatch.setattr(pretrained_cell, "SEEDS", (0, 1))
    measure(without, seconds=None)
    assert "left out: all with SetFit, which is not installed (pip install setfit)" in lines
    assert set(chosen_by(without)[GAP.name]) == {PLAIN, setfit.NAME}, "what was tuned elsewhere stays"
    seeds = {arm: {row["seed"] for row in rows_of(without) if row["arm"] == arm} for arm in (PLAIN, setfit.NAME)}
    assert seeds == {PLAIN: {"0", "1"}, setfit.NAME: {"0"}}


def test_runs_are_tuned_made_once_and_a_failure_is_a_row(workplace, monkeypatch):
    workplace, lines = workplace
    monkeypatch.setattr(pretrained_cell, "ARMS", {arm: ARMS[arm] for arm in (PLAIN, SELF_TRAINING, DEFAULT)})
    monkeypatch.setattr(pretrained_cell, "SEEDS", (0, 1))
    monkeypatch.setattr(pretrained_cell, "RATES", (1e-4, 3e-4))
    monkeypatch.setattr(pretrained_cell, "train", _judged_by_formula)
    measure(workplace, seconds=-1.0)
    assert chosen_by(workplace) == {} and any("not tuned yet" in line for line in lines)
    assert any("left out" in line and "pip install it" in line for line in lines)
    assert "Planned and not run yet: Debian sections (minilm-2 from e5-small)" in section(workplace)
    measure(workplace, seconds=None)
    recipes = chosen_by(workplace)[GAP.name]
    assert recipes == {PLAIN: Recipe(1e-4, 3), SELF_TRAINING: Recipe(3e-4, 3), DEFAULT: Recipe(3e-4, 3)}
    rows = rows_of(workplace)
    assert len(rows) == 2 * len(PROBES) + 2 * 3 + 2 * 2
    failed = [row for row in rows if row["error"]]
    reasons = {(row["arm"], row["labels"], row["seed"], row["error"]) for row in failed}
    assert reasons == {(DEFAULT, labels, "1", "ValueError: no memory") for labels in GAP.labels}
    assert any("failed: ValueError: no memory" in line for line in lines)
    assert "seed 1: ValueError: no memory" in section(workplace)
    measure(workplace, seconds=None)
    assert [line for line in lines if "missing" in line][-2:] == [
        "pretrained students: 16 runs, 2 missing",
        "pretrained students: 14 runs, 0 missing",
    ], "students, and trials of other learning rates and on further draws of labels"
    rates = {(row["arm"], row["learning_rate"]) for row in workplace.trials.rows() if row["seed"] == "1000"}
    assert {(arm, rate) for arm in (PLAIN, DEFAULT) for rate in ("0.0001", "0.001")} <= rates
    assert not list(workplace.trials.parts.glob("*.json")), "all in one table"


def _judged_by_formula(workplace, job):
    """The plain student likes the slowest rate, the others the second, and all many steps; a loss likes weight 3."""
    if job.arm == DEFAULT and job.seed == 1:
        raise ValueError("no memory")
    liked = 1e-4 if job.arm == PLAIN else 3e-4
    outcome = {"accuracy": 0.5, "test_rows": 8, "correct": "f0", "processor_seconds": 1.0}
    blank = pretrained_cell._blank(workplace, job)
    accuracy = 0.8 - abs(job.recipe.learning_rate - liked) + 0.1 * job.recipe.times
    accuracy -= 0.01 * abs((job.recipe.weight or 3.0) - 3.0)
    return {**blank, **outcome, "validation_accuracy": accuracy}


def test_key_knows_all_that_shapes_a_run(workplace, monkeypatch):
    workplace, _ = workplace
    job = Job(GAP, DEFAULT, "200", 0, RECIPE)
    changes = (
        {"labels": ALL}, {"seed": 1}, {"recipe": Recipe(1e-3, 3)}, {"recipe": Recipe(1e-4)}, {"arm": PLAIN},
        {"cell": replace(GAP, rows=8)}, {"cell": replace(GAP, task="other:task")},
    )  # fmt: skip
    keys = {key_of(workplace, job), *(key_of(workplace, replace(job, **change)) for change in changes)}
    monkeypatch.setitem(ARMS, DEFAULT, replace(ARMS[DEFAULT], loss=lambda: RowTransportLoss(input_features=False)))
    assert len({*keys, key_of(workplace, job)}) == 2 + len(changes)


def test_linear_probe_is_what_the_head_begins_with(workplace):
    workplace, _ = workplace
    task = build(labels=8, seed=0)
    model, tokenizer = pretrained_student(task, Path(workplace.models) / STUDENT, seed=0)
    start_from_linear_probe(model, tokenizer, task)
    with torch.no_grad():
        logits = model.eval()(**tokenizer(task.labelled["text"][:], padding=True, return_tensors="pt")).logits
    assert logits.argmax(dim=1).tolist() == task.labelled["label"][:]
    assert LINEAR_PROBE in ARMS and ARMS[LINEAR_PROBE].loss is None


def test_all_labels_are_all_but_one(monkeypatch):
    monkeypatch.setattr(
        pretrained_cell, "build_task", lambda name, labels, seed: build(labels=min(labels, 39), seed=seed)
    )
    task_with.cache_clear()
    assert len(task_with("tiny", "8", 0).labelled) == 8
    task = task_with("tiny", ALL, 0)
    task_with.cache_clear()
    assert (len(task.labelled), len(task.unlabelled)) == (39, 1)


def test_right_rows_survive_packing():
    correct = np.random.default_rng(0).random(475) < 0.6
    assert (unpacked(packed(correct), 475) == correct).all()
