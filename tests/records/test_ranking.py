import json
import sys
from dataclasses import replace

import pytest

from hf_ctkd.errors import InvalidArgumentError, MissingExtraError, NoTeacherLeftError, ProblemCode
from hf_ctkd.records import CommitteeMember, RankedTeacher, TeacherCandidate, TeacherRanking


def teacher(name, *, skipped=None, **scores):
    code = None if skipped is None else ProblemCode.BROKEN
    candidate = TeacherCandidate(name, "ab12", license="mit", parameters=1_234_567)
    return RankedTeacher(candidate, scores, rows=20, seconds=1.25, skipped=skipped, skipped_code=code)


@pytest.fixture
def ranking():
    teachers = [
        teacher("org/broken", skipped="its weights are not finite"),
        teacher("org/b", leep=-0.5, probe=0.25, parameters=1.2e6),
        teacher("org/best", leep=-0.1, probe=0.75, parameters=1.2e6),
        teacher("org/a", probe=0.25, parameters=1.2e6),
    ]
    return TeacherRanking.of(
        teachers, "probe", controls=("parameters", "random"), dataset={"rows": 20}, settings={"seed": 0}
    )


def test_best_first_then_ties_by_name_then_the_skipped(ranking):
    assert [entry.candidate.name for entry in ranking.teachers] == ["org/best", "org/a", "org/b", "org/broken"]
    assert [entry.candidate.name for entry in ranking.scored] == ["org/best", "org/a", "org/b"]
    assert [candidate.name for candidate in ranking.top(2)] == ["org/best", "org/a"]


def test_top_refuses_what_it_cannot_give(ranking):
    with pytest.raises(InvalidArgumentError, match="`k` must be at least 1, got 0"):
        ranking.top(0)
    with pytest.raises(NoTeacherLeftError, match="No teacher could be used out of 1. org/broken: its weights are not"):
        replace(ranking, teachers=ranking.teachers[-1:]).top()


def test_a_committee_is_told_by_rank_since_folders_may_share_a_name(tmp_path):
    folders = [TeacherCandidate(f"/runs/{run}/model", "ab12", "folder") for run in ("first", "second")]
    teachers = tuple(RankedTeacher(folder, {"probe": 1.0 - index}) for index, folder in enumerate(folders))
    members = (CommitteeMember(2, "model", 0.3), CommitteeMember(1, "model", 0.4))
    ranking = TeacherRanking(teachers, "probe", members=members)
    ranking.save(tmp_path / "ranking.json")
    assert TeacherRanking.load(tmp_path / "ranking.json").committee() == folders[::-1]
    with pytest.raises(InvalidArgumentError, match="`members` must be ranked between 1 and 2, got rank 3"):
        replace(ranking, members=(CommitteeMember(3, "model", 0.3),))
    with pytest.raises(InvalidArgumentError, match="This ranking holds no committee. Choose one with"):
        replace(ranking, members=()).committee()


def test_the_table_shows_every_score_once_and_why_each_was_skipped(ranking):
    lines = str(ranking).splitlines()
    assert lines[0].split() == "rank teacher probe leep parameters (control) licence seconds rows".split()  # noqa: SIM905
    assert lines[1].split() == ["1", "org/best", "0.750", "-0.100", "1.23M", "mit", "1.2", "20"]
    assert lines[2].split()[:4] == ["2", "org/a", "0.250", "-"]
    assert lines[4].startswith(
        "Controls know nothing of the task: a score that chooses teachers no better than a control"
    )
    assert lines[5] == "skipped  org/broken: its weights are not finite"
    assert "random (control)" in str(replace(ranking, teachers=(teacher("org/a", probe=0.5, random=0.1),)))
    assert "Controls" not in str(replace(ranking, controls=()))


def test_tables_of_nothing():
    assert str(TeacherRanking((), "probe")) == "No candidates."
    assert str(TeacherRanking((teacher("org/a", skipped="gone"),), "x")).startswith("No teacher was scored.\nskipped")


def test_the_score_that_orders_comes_first_and_controls_last(ranking):
    assert ranking.score_names == ["probe", "leep", "parameters"]


def test_what_is_saved_is_loaded_equal(ranking, tmp_path):
    assert TeacherRanking.load(ranking.save(tmp_path / "ranking.json")) == ranking
    (tmp_path / "other.json").write_text('{"kind": "distillation"}')
    with pytest.raises(InvalidArgumentError, match="must hold a record of kind 'teacher-ranking'"):
        TeacherRanking.load(tmp_path / "other.json")


def test_a_file_written_before_there_were_codes_is_read(ranking, tmp_path):
    values = json.loads(ranking.save(tmp_path / "ranking.json").read_text())
    assert values["teachers"][-1]["skipped_code"] == "broken"
    for entry in values["teachers"]:
        del entry["skipped_code"], entry["candidate"]["problem_code"]
    (tmp_path / "ranking.json").write_text(json.dumps(values))
    older = TeacherRanking.load(tmp_path / "ranking.json")
    assert older.teachers[-1] == replace(ranking.teachers[-1], skipped_code=None)
    assert older.teachers[:-1] == ranking.teachers[:-1]


def test_pandas_has_a_row_a_teacher(ranking):
    frame = ranking.to_pandas()
    assert frame["teacher"].tolist() == ["org/best", "org/a", "org/b", "org/broken"]
    assert frame["probe"].tolist()[:3] == [0.75, 0.25, 0.25]
    assert frame["skipped"].isna().tolist() == [True, True, True, False]


def test_the_leaderboard_has_a_panel_a_score_and_a_point_a_value(ranking):
    figure = ranking.plot()
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["probe\n(orders this list)", "leep\n(also scored)", "parameters\n(control)"]
    assert [len(axes.collections[0].get_offsets()) for axes in figure.axes] == [3, 2, 3]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["org/best", "org/a", "org/b"]


def test_the_leaderboard_needs_a_teacher_and_matplotlib(ranking, monkeypatch):
    with pytest.raises(NoTeacherLeftError):
        replace(ranking, teachers=()).plot()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"`plot` needs matplotlib. Install it with"):
        ranking.plot()


def test_others_do_not_learn_where_folders_lie():
    entry = RankedTeacher(TeacherCandidate("/home/me/zoo/a", "ab", "folder"), {"probe": 0.5})
    shown = TeacherRanking((entry,), "probe", dataset={"name": "/home/me/flowers (train)"}).without_paths()
    assert shown.teachers[0].candidate.model_id == "a"
    assert shown.dataset == {"name": "flowers (train)"}


def test_scores_far_from_one_are_short():
    entry = RankedTeacher(TeacherCandidate("org/a", "ab", parameters=78_000), {"x": 12345.0})
    cells = str(TeacherRanking((entry,), "x")).splitlines()[1].split()
    assert cells[2:4] == ["1.23e+04", "78k"]
