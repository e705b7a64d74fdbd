import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from accelerate import Accelerator
from huggingface_hub import constants
from tiny_models import encoded, image_rows

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.hub import folder_teachers, hub_teachers
from hf_ctkd.metrics import InformationGain, NearestNeighbour
from hf_ctkd.records import TeacherRanking
from hf_ctkd.selection import SelectionBudget, TeacherSelector, budgeted
from hf_ctkd.selection.execution import scores_of_workers
from hf_ctkd.selection.race import RaceOutcome
from hf_ctkd.selection.scorer import RunSettings, Scorer
from hf_ctkd.selection.scoring_job import ScoringJob
from hf_ctkd.teachers import LoadOptions, Teacher

CLASSES = ("dark", "stripes", "bright")


@pytest.fixture(autouse=True)
def two_sets_of_rows(monkeypatch):
    """Of 100 and 200 rows, which are easier to count than three."""
    monkeypatch.setattr(budgeted, "_LEAST_ROWS", 64)


@pytest.fixture
def many_rows():
    """Two hundred pictures of three kinds, in turn."""
    generator = np.random.default_rng(0)
    kinds = (np.full((8, 8), 40), np.tile([0, 0, 250, 250], (8, 2)), np.full((8, 8), 220))
    contents = [encoded(kinds[row % 3] + generator.normal(0, 60, (8, 8))) for row in range(200)]
    return image_rows(contents, [row % 3 for row in range(200)], names=CLASSES)


class OwnNeighbour(NearestNeighbour):
    """A metric from another package, whose values on rows are not cached."""


@pytest.fixture
def selector(tmp_path):
    return TeacherSelector("nearest_neighbour", cache_dir=tmp_path / "cache", progress=False, metrics=())


def test_rows_go_to_the_teachers_that_may_be_the_best(selector, zoo, many_rows, passes):
    candidates = [*folder_teachers(zoo)]
    random = replace(next(folder_teachers(zoo / "first")), random_weights=True)
    # Sets of 100 and 200 rows; the first may take half of the budget: three sound teachers and a control.
    ranking = replace(selector, budget=SelectionBudget(forwards=820)).rank([*candidates, random], many_rows)
    facts = ranking.settings["budget"]
    assert facts["row_sets"] == [100, 200] and facts["limits"] == {"seconds": None, "forwards": 820, "bytes": None}
    assert facts["spent"]["forwards"] == sum(teacher.rows for teacher in ranking.scored) <= 820
    assert sum(count for _, count in passes) <= 820
    rows = [teacher.rows for teacher in ranking.scored]
    assert rows == sorted(rows, reverse=True) and len(rows) == 4
    assert facts["summary"] in str(ranking)
    assert "Of the 4 of 9 teachers that were scored, the first is within 0.01 of the best nearest_neighbour with" in (
        ranking.certainty
    )
    assert not any("half" in name for teacher in ranking.scored for name in teacher.scores)
    assert "NaN" in next(t.skipped for t in ranking.teachers if t.candidate.name == "bad-nan")
    assert ranking.rank_of_baseline <= len(ranking.scored) + 1


@pytest.mark.parametrize(("metric", "fits"), [(NearestNeighbour(), 1), (OwnNeighbour(), 13)], ids=["ours", "foreign"])
def test_a_metric_is_computed_once_where_its_values_on_rows_are_at_hand(
    selector, zoo, many_rows, metric, fits, monkeypatch
):
    """Others are computed on twelve halves of the rows too."""
    computed = []
    values_of_rows = NearestNeighbour.values_of_rows

    def counted(self, outputs, labels):
        computed.append(len(labels))
        return values_of_rows(self, outputs, labels)

    monkeypatch.setattr(NearestNeighbour, "values_of_rows", counted)
    ranked = replace(selector, metric=metric, budget=SelectionBudget(forwards=200))
    ranking = ranked.rank([zoo / "first", zoo / "headless"], many_rows)
    assert [teacher.rows for teacher in ranking.scored] == [100, 100]
    assert len(computed) == 2 * fits


@pytest.mark.parametrize(("forwards", "rows"), [(10**6, 200), (199, 100)])
def test_a_single_candidate_is_scored_on_as_many_rows_as_are_allowed(selector, zoo, many_rows, forwards, rows):
    ranking = replace(selector, budget=SelectionBudget(forwards=forwards)).rank([zoo / "first"], many_rows)
    assert [teacher.rows for teacher in ranking.scored] == ranking.settings["budget"]["row_sets"] == [rows]


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.5, "the first is within 0.01 of the best leep with a probability of at least 0.50."),
        (0.0, "cannot be told apart from the best: others may have a leep that is more than 0.01 higher."),
    ],
)
def test_a_bound_that_says_nothing_is_not_stated(probability, text):
    """Of many teachers that are nearly alike the bound is zero, which would read as an error of the ranking."""
    outcome = RaceOutcome((1, 0, 2), (0, 0, 0), probability, "rows", 0.01)
    assert budgeted._certainty(outcome, 3, "leep").endswith(text)


def test_scores_that_are_deleted_meanwhile(selector, zoo, many_rows, monkeypatch):
    monkeypatch.setattr(Scorer, "row_values", lambda self, candidate: None)
    with pytest.raises(InvalidArgumentError, match="'first' were deleted from the cache .* Run again, with"):
        replace(selector, budget=SelectionBudget(forwards=400)).rank([zoo / "first", zoo / "headless"], many_rows)


def test_a_large_budget_ranks_as_none_does_not_and_is_written(selector, zoo, many_rows, tmp_path):
    candidates = [zoo / "first", zoo / "headless"]
    plain = selector.rank(candidates, many_rows)
    ranking = replace(selector, budget=SelectionBudget(seconds=3600)).rank(candidates, many_rows)
    assert ranking.scored[0].candidate == plain.scored[0].candidate
    assert ranking.settings["budget"]["probability"] > 0.5
    ranking.save(tmp_path / "ranking.json")
    assert TeacherRanking.load(tmp_path / "ranking.json").certainty == ranking.certainty


def test_a_budget_too_small_for_anything(selector, zoo, many_rows):
    message = (
        "`budget` of 99 rows run through teachers does not suffice to score any teacher: each needs 100 rows, .* more"
    )
    with pytest.raises(InvalidArgumentError, match=message):
        replace(selector, budget=SelectionBudget(forwards=99)).rank([zoo / "first"], many_rows)
    with pytest.raises(InvalidArgumentError, match="`budget` of 1e-06 seconds does not suffice"):
        replace(selector, budget=SelectionBudget(seconds=1e-6)).rank([zoo / "first"], many_rows)


def test_teachers_that_the_budget_does_not_reach_say_so(selector, zoo, many_rows):
    ranking = replace(selector, budget=SelectionBudget(forwards=110)).rank([zoo / "first", zoo / "second"], many_rows)
    (skipped,) = (teacher for teacher in ranking.teachers if teacher.skipped)
    assert len(ranking.scored) == 1 and skipped.skipped_code is ProblemCode.OUT_OF_BUDGET
    assert "the budget was spent before its turn came" in skipped.skipped
    assert ranking.settings["budget"]["stopped"] == "forwards"
    assert ranking.certainty.endswith("1 of 2 teachers was scored, so that there is none to compare it with.")


def test_the_student_is_scored_on_the_rows_of_the_first_teacher(selector, zoo, many_rows):
    candidates = [zoo / "first", zoo / "second", zoo / "headless"]
    within = replace(selector, student=zoo / "second")
    ranking = replace(within, budget=SelectionBudget(forwards=310)).rank(candidates[:2], many_rows)
    assert [teacher.rows for teacher in ranking.scored] == [100, 100]
    itself = next(teacher for teacher in ranking.scored if teacher.candidate.name == "second")
    assert (ranking.baseline.rows, ranking.baseline.scores["nearest_neighbour"]) == (
        100,
        itself.scores["nearest_neighbour"],
    )
    assert itself not in ranking.above_baseline
    assert within.rank(candidates, many_rows).baseline.rows == 200
    more = replace(within, budget=SelectionBudget(forwards=10_000)).rank(candidates, many_rows)
    assert more.baseline.rows == more.scored[0].rows


def test_scores_on_other_scales_have_a_margin_of_their_spread(selector, zoo, many_rows):
    ranking = replace(selector, metric="leep", budget=SelectionBudget(forwards=10_000)).rank(
        [zoo / "first", zoo / "second"], many_rows
    )
    low, high = sorted(teacher.scores["leep"] for teacher in ranking.scored)
    margin = ranking.settings["budget"]["margin"]
    assert 0 < margin < 0.1 * (high - low) + 0.01 and f"within {margin:.3g} of the best leep" in ranking.certainty


def test_downloads_are_counted_before_they_happen(selector, make_teacher, many_rows, tmp_path, hub):
    for number, name in enumerate(("a", "b", "c")):
        hub.add(f"org/{name}", make_teacher(tmp_path / name, seed=number))
    candidates = list(hub_teachers("org/a", "org/b", "org/c"))
    size = selector.options.download_bytes(candidates[0])
    chosen = ("config.json", "model.safetensors", "preprocessor_config.json")
    assert size == sum((tmp_path / "a" / name).stat().st_size for name in chosen)
    ranking = replace(selector, budget=SelectionBudget(bytes=2 * size + 500)).rank(candidates, many_rows)
    assert len(ranking.scored) == 2
    (skipped,) = (teacher for teacher in ranking.teachers if teacher.skipped)
    assert f"its download takes {size:,} bytes, more than the" in skipped.skipped
    assert not hub.seen(f"GET /{skipped.candidate.model_id}/resolve/.*safetensors")
    assert ranking.settings["budget"]["spent"]["bytes"] <= 2 * size + 500
    assert ranking.settings["budget"]["stopped"] != "settled"
    # What is in the cache costs nothing.
    assert selector.options.download_bytes(ranking.scored[0].candidate) == 0
    with pytest.raises(InvalidArgumentError, match="`budget` of 10 bytes does not suffice to score any teacher"):
        replace(selector, budget=SelectionBudget(bytes=10)).rank([skipped.candidate], many_rows)


@pytest.fixture
def models(hub, make_teacher, tmp_path):
    """Four teachers on the Hub, one of which has no weights, and the bytes that each other one takes."""
    for number, name in enumerate(("a", "b", "c", "d")):
        hub.add(f"org/{name}", make_teacher(tmp_path / name, seed=number))
    hub.add("org/b", {"config.json": (tmp_path / "b" / "config.json").read_bytes()})
    candidates = list(hub_teachers("org/a", "org/b", "org/c", "org/d"))
    return candidates, LoadOptions().download_bytes(candidates[0])


def facts(ranking: TeacherRanking) -> tuple:
    """All of a ranking that does not depend on time."""
    budget = ranking.settings["budget"]
    teachers = [(t.candidate, t.scores, t.rows, t.skipped) for t in ranking.teachers]
    spent = {name: budget["spent"][name] for name in ("forwards", "bytes")}
    return teachers, spent, budget["row_sets"], budget["stopped"], budget["probability"]


@pytest.mark.parametrize("limit", ["forwards", "few forwards", "bytes"])
def test_workers_rank_as_one_process_does(selector, zoo, many_rows, models, tmp_path, monkeypatch, limit):
    candidates, size = models
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    budget = {
        "forwards": SelectionBudget(forwards=900),
        "few forwards": SelectionBudget(forwards=450),
        "bytes": SelectionBudget(bytes=2 * size + 500),
    }[limit]
    candidates = [zoo / "first", zoo / "bad-nan", *candidates]
    in_turn = replace(selector, budget=budget).rank(candidates, many_rows)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "other hub"))
    with ThreadPoolExecutor(3) as threads:
        on_workers = replace(selector, budget=budget, executor=threads, cache_dir=tmp_path / "other")
        assert facts(on_workers.rank(candidates, many_rows)) == facts(in_turn)


@pytest.mark.slow
def test_processes_rank_as_one_process_does(selector, zoo, many_rows, tmp_path):
    limited = replace(selector, budget=SelectionBudget(forwards=700))
    in_turn = limited.rank(folder_teachers(zoo), many_rows)
    on_workers = replace(limited, processes=2, cache_dir=tmp_path / "other")
    assert facts(on_workers.rank(folder_teachers(zoo), many_rows)) == facts(in_turn)


def test_time_ends_what_workers_have_not_begun(selector, zoo, rows, tmp_path):
    teachers = list(enumerate(folder_teachers(zoo)))
    begun, allowed = [], [True]

    class Slow(ThreadPoolExecutor):
        def submit(self, function, job, candidate):
            def score():
                begun.append(candidate.name)
                allowed[0] = False  # the time is over once the first is being scored
                return function(job, candidate)

            return super().submit(score)

    labelled = TargetRows.of(rows)
    settings = RunSettings(tmp_path / "cache", LoadOptions(), 64, progress=False)
    job = ScoringJob.of(Scorer([InformationGain()], labelled, None, Accelerator(), settings, 0))
    with Slow(1) as executor:
        finished = list(scores_of_workers(executor, job, teachers, lambda: allowed[0]))
    assert 1 <= len(finished) == len(begun) < len(teachers)
    assert finished[0][1].candidate.name == begun[0]


def test_a_download_is_fetched_ahead_within_the_bytes(selector, many_rows, models, tmp_path, hub, monkeypatch):
    """The second of two affordable ones arrives while the first is scored; the third is never asked for."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    candidates, size = models
    candidates.pop(1)
    plain, seen = Teacher.load.__func__, []

    def weights():
        return [c.model_id for c in candidates if hub.seen(f"GET /{c.model_id}/resolve/.*safetensors")]

    def watched(cls, candidate, *arguments, **settings):
        end = time.monotonic() + 20
        while len(weights()) < 2 and time.monotonic() < end:
            threading.Event().wait(0.02)
        seen.append(weights())
        return plain(cls, candidate, *arguments, **settings)

    monkeypatch.setattr(Teacher, "load", classmethod(watched))
    ranking = replace(selector, budget=SelectionBudget(bytes=2 * size + 500)).rank(candidates, many_rows)
    assert len(ranking.scored) == 2 and len(seen[0]) == 2 and len(weights()) == 2
    assert ranking.settings["budget"]["spent"]["bytes"] == 2 * size


def test_what_does_not_go_with_a_budget(selector, zoo, many_rows):
    limited = replace(selector, budget=SelectionBudget(seconds=1))
    with pytest.raises(InvalidArgumentError, match="A committee needs the outputs .* `budget` limits them"):
        limited.select_committee(zoo / "first", many_rows)
    import torch

    with pytest.raises(InvalidArgumentError, match="`student_probabilities` are for all rows, but `budget`"):
        limited.rank(zoo / "first", many_rows, student_probabilities=torch.full((200, 3), 1 / 3))
