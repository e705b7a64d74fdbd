from dataclasses import replace

import numpy as np
import pytest
from tiny_models import encoded, image_rows

from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.hub import folder_teachers, hub_teachers
from hf_ctkd.records import TeacherRanking
from hf_ctkd.selection import SelectionBudget, TeacherSelector

CLASSES = ("dark", "stripes", "bright")


@pytest.fixture
def many_rows():
    """Two hundred pictures of three kinds, in turn."""
    generator = np.random.default_rng(0)
    kinds = (np.full((8, 8), 40), np.tile([0, 0, 250, 250], (8, 2)), np.full((8, 8), 220))
    contents = [encoded(kinds[row % 3] + generator.normal(0, 60, (8, 8))) for row in range(200)]
    return image_rows(contents, [row % 3 for row in range(200)], names=CLASSES)


@pytest.fixture
def selector(tmp_path):
    # The cheapest metric: it is computed on twelve halves too.
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
    assert facts["summary"] in str(ranking) and "within 1 point of the best" in ranking.certainty
    assert not any("half" in name for teacher in ranking.scored for name in teacher.scores)
    assert "NaN" in next(t.skipped for t in ranking.teachers if t.candidate.name == "bad-nan")
    assert ranking.rank_of_baseline <= len(ranking.scored) + 1


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
    assert ranking.settings["budget"]["stopped"] in ("forwards", "settled")


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
    # What is in the cache costs nothing.
    assert selector.options.download_bytes(ranking.scored[0].candidate) == 0
    with pytest.raises(InvalidArgumentError, match="`budget` of 10 bytes does not suffice to score any teacher"):
        replace(selector, budget=SelectionBudget(bytes=10)).rank([skipped.candidate], many_rows)


def test_what_does_not_go_with_a_budget(selector, zoo, many_rows):
    with pytest.raises(InvalidArgumentError, match="`budget` is spent in turn.* Leave out `processes` and `executor`"):
        TeacherSelector(budget=SelectionBudget(seconds=1), processes=2)
    limited = replace(selector, budget=SelectionBudget(seconds=1))
    with pytest.raises(InvalidArgumentError, match="A committee needs the outputs .* `budget` limits them"):
        limited.select_committee(zoo / "first", many_rows)
    import torch

    with pytest.raises(InvalidArgumentError, match="`student_probabilities` are for all rows, but `budget`"):
        limited.rank(zoo / "first", many_rows, student_probabilities=torch.full((200, 3), 1 / 3))
