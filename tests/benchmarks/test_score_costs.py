import json

import pytest
from tiny_suite import build, scores_with

from benchmarks.evidence import score_costs, student
from benchmarks.evidence.analysis import load_scores
from benchmarks.evidence.grid import BALANCED, TEACHERS, Cell, Extras
from benchmarks.evidence.report import agreement_table
from benchmarks.evidence.run import Suite
from benchmarks.evidence.scores import METRICS
from benchmarks.evidence.student import RunSettings
from hf_ctkd.demo.students import build_student


def test_a_ranking_by_each_score_is_measured_and_a_teacher_without_classes_has_no_accuracy(tmp_path, monkeypatch):
    student.candidates.cache_clear()
    model, tokenizer = build_student(build(labels=8, seed=0), seed=5)
    names = TEACHERS["text"][:2]
    for name in names:
        for part in (model, tokenizer):
            part.save_pretrained(tmp_path / "zoo" / name)
    (tmp_path / "zoo" / names[0] / "teacher.json").write_text(json.dumps({"held_out_accuracy": 0.75}))
    monkeypatch.setattr(score_costs, "CELLS", (Cell("tiny_suite:build", 8),))
    monkeypatch.setattr(score_costs, "METRICS", ("leep", "information_gain"))
    suite = Suite(
        tmp_path / "results", RunSettings({"text": (str(tmp_path / "zoo"),)}, ""), Extras([score_costs.CELLS[0]])
    )
    for _ in range(2):  # the second time the rows take the place of the first
        score_costs.measure(suite)
    rows = {row["metric"]: row for row in score_costs.costs(suite.folder).rows()}
    assert list(rows) == ["information_gain", "leep"]
    weights = (tmp_path / "zoo" / names[0] / "model.safetensors").stat().st_size
    for row in rows.values():
        assert (row["teachers"], row["rows"], row["bytes"]) == ("2", "16", str(2 * weights))
        assert float(row["seconds"]) > 0
    own = score_costs.own_accuracies(suite.folder).rows()
    assert [(row["teacher"], row["accuracy"]) for row in own] == [(names[0], "0.75")]


def test_an_accuracy_of_its_own_is_one_score_more_of_every_cell_and_seed():
    scores = load_scores(
        [one for metric in METRICS for one in scores_with(BALANCED, {"arrows": 1, "greek": 2}, metric)]
    )
    own = [{"key": "image", "teacher": "arrows", "modality": "image", "accuracy": "0.9"}]
    found = score_costs.as_scores([*own, {**own[0], "modality": "text"}], scores)
    assert found[["cell", "teacher", "seed", "metric", "value"]].to_numpy().tolist() == [
        [str(BALANCED), "arrows", seed, score_costs.SOURCE_ACCURACY, 0.9] for seed in (0, 1)
    ]


def test_what_a_score_costs_stands_beside_it(runs_of_three_teachers):
    runs, scores = runs_of_three_teachers
    spent = [{"metric": METRICS[0], "rows": "600", "bytes": "4500000", "seconds": seconds} for seconds in ("1.5", "2")]
    lines = agreement_table(runs, scores, spent).splitlines()
    assert lines[0].endswith("| rows read | MB | seconds |")
    assert lines[2].startswith(f"| {METRICS[0]} | 1.00") and lines[2].endswith("| 1,200 | 9 | 3.5 |")
    assert lines[3].endswith("| 0 | 0 | 0.0 |")


@pytest.fixture
def runs_of_three_teachers(few_resamples):
    from tiny_suite import row

    from benchmarks.evidence.analysis import load_runs
    from benchmarks.evidence.grid import DEFAULT, PLAIN

    outcomes = {"arrows": 0.5, "greek": 0.6, "font-letters": 0.7}
    rows = [
        row(BALANCED, PLAIN, 0, 0.5),
        *(row(BALANCED, DEFAULT, 0, value, teacher=name) for name, value in outcomes.items()),
    ]
    worse = {name: -value for name, value in outcomes.items()}
    scores = [*scores_with(BALANCED, outcomes, METRICS[0], seeds=1), *scores_with(BALANCED, worse, METRICS[1], seeds=1)]
    return load_runs(rows), load_scores(scores)
