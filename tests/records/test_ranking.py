import json
import sys
from dataclasses import replace

import pytest

from hf_ctkd.errors import InvalidArgumentError, MissingExtraError, NoTeacherLeftError, ProblemCode
from hf_ctkd.records import CommitteeMember, RankedTeacher, TeacherCandidate, TeacherFreeBaseline, TeacherRanking


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


@pytest.mark.parametrize("field", ["random_weights", "untrained"])
def test_controls_are_marked_and_come_last_where_teachers_are_chosen(ranking, field):
    best = ranking.teachers[0]
    control = replace(best, candidate=replace(best.candidate, **{field: True}))
    marked = replace(ranking, teachers=(control, *ranking.teachers[1:]))
    assert [candidate.name for candidate in marked.top(2)] == ["org/a", "org/b"]
    assert marked.top(3)[-1] == control.candidate and len(marked.scored) == 3
    assert "org/best (control)" in str(marked).splitlines()[1] and "(control)" not in str(marked).splitlines()[2]
    assert marked.to_pandas()["control"].tolist() == [True, False, False, False]
    assert "org/best (control)" in marked.plot().axes[0].get_yticklabels()[0].get_text()
    assert replace(marked, teachers=(control,)).top() == [control.candidate], "nothing else is there"
    assert marked.above_baseline == marked.scored[1:]


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


def test_rows_that_scores_leave_out_are_counted(ranking, tmp_path):
    partly = replace(ranking, teachers=(replace(ranking.teachers[0], not_finite=3), *ranking.teachers[1:]))
    remark = "Its outputs are NaN or infinite for 3 of 23 rows, which were left out of its scores."
    assert f"\norg/best: {remark}\nskipped  org/broken" in str(partly) and remark not in str(ranking)
    assert TeacherRanking.load(partly.save(tmp_path / "ranking.json")) == partly
    assert partly.to_pandas()["not_finite"].tolist() == [3, 0, 0, 0]
    with pytest.raises(InvalidArgumentError, match="`not_finite` must not be negative, got -1"):
        replace(ranking.teachers[0], not_finite=-1)


def test_the_table_shows_every_score_once_and_why_each_was_skipped(ranking):
    lines = str(ranking).splitlines()
    assert lines[0].split() == "rank teacher probe leep parameters (control) licence seconds rows".split()  # noqa: SIM905
    assert lines[1].split() == ["1", "org/best", "0.750", "-0.100", "1.23M", "mit", "1.2", "20"]
    assert lines[2].split()[:4] == ["2", "org/a", "0.250", "-"]
    assert lines[4].startswith(
        "Columns marked (control) know nothing of the task: a score that chooses no better teachers"
    )
    assert lines[5] == "skipped  org/broken: its weights are not finite"
    assert "random (control)" in str(replace(ranking, teachers=(teacher("org/a", probe=0.5, random=0.1),)))
    assert "(control)" not in str(replace(ranking, controls=()))


def with_baseline(ranking, score, student=None):
    return replace(ranking, baseline=TeacherFreeBaseline({"probe": score, "leep": -0.3}, student, 0.5))


STUDENT = TeacherCandidate("/home/me/small", "cd34", "folder", parameters=42_000)


def test_the_table_has_a_line_where_the_student_stands(ranking):
    lines = str(with_baseline(ranking, 0.5, STUDENT)).splitlines()
    assert lines[2].split() == "- your student: small 0.500 -0.300 42k 0.5".split()  # noqa: SIM905
    assert [line.split()[0] for line in lines[1:5]] == ["1", "-", "2", "3"]
    assert lines[5] == (
        "1 teacher knows more of this task than your student already knows (probe 0.500). Those below this line do not."
    )
    # A teacher that scores the same knows no more.
    assert [line.split()[0] for line in str(with_baseline(ranking, 0.25)).splitlines()[1:5]] == ["1", "-", "2", "3"]
    assert "-  input features (no teacher)" in str(with_baseline(ranking, 0.25))


def test_the_advice_says_whether_to_distill_at_all(ranking):
    assert with_baseline(ranking, 0.9, STUDENT).advice == (
        "Let the student's own layers teach it: no candidate knows more of this task than your student already knows "
        "(probe 0.900)."
    )
    assert with_baseline(ranking, 0.9).advice == (
        "Train on the labels alone: no candidate knows more of this task than the input features alone tell "
        "(probe 0.900)."
    )
    all_above = with_baseline(ranking, 0.1)
    assert all_above.advice == "3 teachers know more of this task than the input features alone tell (probe 0.100)."
    assert len(all_above.above_baseline) == 3 and all_above.rank_of_baseline == 4
    for other in (with_baseline(ranking, 0.9), with_baseline(ranking, 0.1, STUDENT)):
        assert not other.advises_own_layers and "own layers" not in other.advice
    assert with_baseline(ranking, 0.9).advises_no_teacher and not all_above.advises_no_teacher
    assert not ranking.advises_no_teacher
    assert ranking.advice == "" and len(ranking.above_baseline) == 3
    assert replace(all_above, teachers=ranking.teachers[-1:]).advice == ""


def test_random_weights_above_the_line_are_no_reason_to_distill(ranking):
    best = ranking.teachers[0]
    control = replace(best, candidate=replace(best.candidate, random_weights=True))
    only = with_baseline(replace(ranking, teachers=(control, *ranking.teachers[1:])), 0.5, STUDENT)
    assert (
        only.advice.startswith("Let the student's own layers teach it")
        and only.above_baseline == ()
        and only.rank_of_baseline == 2
    )


def test_a_teacher_has_to_know_more_than_random_weights(ranking):
    best, second, last, broken = ranking.teachers
    control = replace(second, candidate=replace(second.candidate, model_id="org/noise", random_weights=True))
    above = replace(control, scores={"probe": 0.4, "leep": -0.9})
    drawn = with_baseline(replace(ranking, teachers=(best, above, second, last, broken)), 0.1)
    assert drawn.above_baseline == (best,) and drawn.rank_of_baseline == 5
    assert drawn.advice == (
        "1 teacher knows more of this task than random weights like org/noise (probe 0.400), a control whose score is "
        "chance. Those below this line do not."
    )
    none = with_baseline(replace(ranking, teachers=(replace(above, scores={"probe": 0.95}), *ranking.teachers)), 0.1)
    assert none.advises_no_teacher and none.advice == (
        "Train on the labels alone: no candidate knows more of this task than random weights like org/noise (probe "
        "0.950), a control whose score is chance."
    )


def test_no_gain_is_promised_from_a_teacher_below_random_weights():
    control = RankedTeacher(TeacherCandidate("org/noise", "main", random_weights=True), {"information_gain": 0.6})
    teacher = RankedTeacher(TeacherCandidate("org/real", "main"), {"information_gain": 0.5})
    baseline, facts = TeacherFreeBaseline({"information_gain": 0.2}), {"rows": 100, "labelled_rows": 10}
    ranking = TeacherRanking((control, teacher), "information_gain", dataset=facts, baseline=baseline)
    assert ranking.expected_gain(teacher) is ranking.expected_gain(control) is None
    assert "Expect" not in str(ranking) and "expected gain" not in str(ranking)


def test_teachers_on_fewer_rows_are_not_compared(ranking):
    best, second, last, broken = ranking.teachers
    on_all = replace(best, rows=98, not_finite=2)
    fewer = tuple(replace(teacher, rows=50, scores={"probe": 0.99}) for teacher in (second, last))
    baseline = TeacherFreeBaseline({"probe": 0.5}, rows=100)
    drawn = replace(ranking, teachers=(on_all, *fewer, broken), baseline=baseline)
    assert drawn.above_baseline == (on_all,) and drawn.rank_of_baseline == 2
    assert drawn.advice == (
        "1 teacher knows more of this task than the input features alone tell (probe 0.500). "
        "2 teachers were scored on fewer rows, and not compared: scores grow with the number of rows."
    )
    lines = str(drawn).splitlines()
    assert [line.endswith("50 (not compared)") for line in lines[1:5]] == [False, False, True, True]
    assert lines[2].endswith(" 100")
    alone = replace(drawn, baseline=None)
    assert drawn.apart and f"\n{drawn.apart}\n" in f"{alone}\n"


def test_a_baseline_needs_the_score_that_orders():
    with pytest.raises(InvalidArgumentError, match="`baseline` must have a score by 'probe', .*, got scores by leep"):
        TeacherRanking((), "probe", baseline=TeacherFreeBaseline({"leep": 1.0}))
    with pytest.raises(InvalidArgumentError, match="`seconds` must not be negative, got -1"):
        TeacherFreeBaseline({}, seconds=-1)


def test_the_baseline_is_saved_and_an_older_file_refused_in_one_line(ranking, tmp_path):
    drawn = with_baseline(ranking, 0.5, STUDENT)
    path = drawn.save(tmp_path / "ranking.json")
    assert TeacherRanking.load(path) == drawn
    path.write_text(path.read_text().replace('"format": 3', '"format": 2'))
    with pytest.raises(InvalidArgumentError, match="`format` must be 3, .* got 2. Make the file again with") as refusal:
        TeacherRanking.load(path)
    assert "\n" not in str(refusal.value)


def with_intervals(ranking, tied=None):
    ends = ((0.7, 0.8), (0.2, 0.3), None, None)
    teachers = tuple(
        replace(entry, interval=interval, seconds_per_1000_rows=interval and 4.0)
        for entry, interval in zip(ranking.teachers, ends, strict=True)
    )
    return replace(ranking, teachers=teachers, tied=tied)


def test_intervals_stand_beside_the_score_that_orders(ranking, tmp_path):
    lines = str(with_intervals(ranking)).splitlines()
    assert "probe  95 % interval     leep" in lines[0]
    assert "0.750  [0.700, 0.800]  -0.100" in lines[1]
    assert lines[3].split()[:5] == ["3", "org/b", "0.250", "-", "-0.500"]
    frame = with_intervals(ranking).to_pandas()
    assert frame["interval_low"].tolist()[:2] == [0.7, 0.2] and frame["interval_high"].tolist()[:2] == [0.8, 0.3]
    bars = [collection.get_segments() for collection in with_intervals(ranking).plot().axes[0].collections[1:]]
    assert [bar[0].tolist() for bar in bars] == [[[0.7, 0], [0.8, 0]], [[0.2, 1], [0.3, 1]]]
    figure = with_intervals(ranking).plot()
    places = [[label.xy for label in axes.texts] for axes in figure.axes]
    assert places[0] == [(0.8, 0), (0.3, 1), (0.25, 2)], "a label must stand beside its bar, not on it"
    assert places[1] == [(-0.1, 0), (-0.5, 2)], "other scores have no bars"
    path = with_intervals(ranking, tied=2).save(tmp_path / "ranking.json")
    assert TeacherRanking.load(path) == with_intervals(ranking, tied=2)


def test_teachers_that_cannot_be_told_apart_are_named(ranking):
    tie = "The first 2 cannot be told apart on these rows."
    assert with_baseline(with_intervals(ranking, tied=2), 0.1).advice == (
        f"3 teachers know more of this task than the input features alone tell (probe 0.100). {tie}"
    )
    assert tie in str(with_intervals(ranking, tied=2)).splitlines()
    assert "told apart" not in str(with_intervals(ranking, tied=1))
    random = replace(ranking.teachers[1], candidate=replace(ranking.teachers[1].candidate, random_weights=True))
    chance = replace(with_intervals(ranking, tied=2), teachers=(ranking.teachers[0], random, *ranking.teachers[2:]))
    assert chance.tie == f"{tie[:-1]}, and one of them has random weights: what the others know may be chance."
    assert "told apart" not in with_baseline(with_intervals(ranking, tied=2), 0.9).advice
    for tied in (0, 4):
        with pytest.raises(InvalidArgumentError, match=f"`tied` must be between 1 and 3, got {tied}"):
            replace(ranking, tied=tied)
    with pytest.raises(InvalidArgumentError, match=r"`interval` must have its lower end first, got \[0.3, 0.2\]"):
        replace(ranking.teachers[0], interval=(0.3, 0.2))


def test_the_cost_of_a_forward_pass_and_the_speed_up_of_the_student(ranking):
    measured = with_baseline(with_intervals(ranking), 0.5, STUDENT)
    assert "s / 1,000 rows" in str(measured) and "speed-up" not in str(measured)
    student = replace(measured.baseline, seconds_per_1000_rows=0.5)
    measured = replace(measured, baseline=student)
    lines = str(measured).splitlines()
    assert "s / 1,000 rows  student's speed-up" in lines[0]
    assert lines[1].split()[-5:] == ["4", "8x", "mit", "1.2", "20"]
    assert lines[2].split()[-3:] == ["0.5", "1x", "0.5"]
    assert measured.speed_up(measured.teachers[0]) == 8 and measured.speed_up(measured.teachers[2]) is None
    assert measured.to_pandas()["student_speed_up"].tolist()[0] == 8


def test_the_leaderboard_has_a_dashed_line_at_the_baseline(ranking):
    figure = with_baseline(ranking, 0.5, STUDENT).plot()
    dashed = [[line.get_xdata()[0] for line in axes.lines] for axes in figure.axes]
    assert dashed == [[0.5], [-0.3], []]
    assert figure.get_supxlabel() == "higher is better; dashed: your student: small"


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
    drawn = TeacherRanking((entry,), "probe", baseline=TeacherFreeBaseline({"probe": 0.1}, STUDENT)).without_paths()
    assert drawn.baseline.student.model_id == "small"


def test_scores_far_from_one_are_short():
    entry = RankedTeacher(TeacherCandidate("org/a", "ab", parameters=78_000), {"x": 12345.0})
    cells = str(TeacherRanking((entry,), "x")).splitlines()[1].split()
    assert cells[2:4] == ["1.23e+04", "78k"]
