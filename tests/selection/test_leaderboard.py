import io
import itertools
from dataclasses import replace

import pytest
from rich.console import Console

from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherFreeBaseline
from hf_ctkd.selection import leaderboard
from hf_ctkd.selection.leaderboard import Leaderboard, Progress, leaderboard_of


def teacher(name, score, **facts):
    candidate = TeacherCandidate(name, "ab12", parameters=1_234_567, **facts)
    return RankedTeacher(candidate, {"information_gain": score}, rows=20, seconds=1.25)


@pytest.fixture
def board():
    facts = {"scored_rows_of_class": {"cat": 5, "dog": 5}}
    board = leaderboard_of("information_gain", 8, TeacherFreeBaseline({"information_gain": 0.4}), facts)
    return replace(board, clock=itertools.count(0.0, 60.0).__next__)


def drawn(board: Leaderboard, lines: int = 20, width: int = 100) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(board.table(lines))
    return [line.strip() for line in console.file.getvalue().splitlines()]


def test_teachers_stand_in_order_with_the_student_among_them(board):
    board.finish(teacher("org/weak", 0.2))
    board.finish(teacher("org/best", 0.9))
    board.finish(RankedTeacher(TeacherCandidate("org/gated", "ab12"), skipped="it is gated"))
    board.finish(teacher("org/[red]best", 0.5, random_weights=True))
    board.start(TeacherCandidate("org/next", "ab12"))
    lines = drawn(board)
    assert lines[0].split() == ["rank", "teacher", "information_gain", "parameters", "seconds"]
    assert [line.split()[0] for line in lines[1:5]] == ["1", "2", "-", "3"]
    assert lines[1].split() == ["1", "org/best", "0.900", "1.23M", "1.2"]
    assert "random weights like org/[red]best (control)" in lines[2], "a name is no markup"
    assert "input features (no teacher)" in lines[3] and "0.400" in lines[3]
    assert lines[5] == "chance level 0.000; controls know nothing of the task"
    assert lines[6] == "4 of 8 done, 1 skipped, 1:00, about 1:00 left, scoring org/next"


def test_scores_have_their_intervals(board, capsys):
    best = replace(teacher("org/best", 0.9), interval=(0.85, 0.95))
    board.finish(best)
    board.finish(teacher("org/weak", 0.2))
    lines = drawn(board, width=200)
    assert "95 % interval" in lines[0] and "[0.850, 0.950]" in lines[1] and lines[3].split()[3] == "-"
    with Progress(board, show=True) as progress:
        progress.finish(best)
    assert "information_gain 0.900 [0.850, 0.950] (" in capsys.readouterr().err


def test_a_long_table_shows_the_best(board):
    for number in range(30):
        board.finish(teacher(f"org/{number}", 0.41 + number / 100))
    lines = drawn(board, 5)
    assert [line.split()[1] for line in lines[1:6]] == ["org/29", "org/28", "org/27", "org/26", "org/25"]
    assert lines[6].strip().startswith("-") and lines[7] == "and 25 more below"


def test_without_a_terminal_there_is_a_line_for_each(board, capsys):
    with Progress(board, show=True) as progress:
        for scored in (teacher("org/best", 0.9), teacher("org/weak", 0.2)):
            progress.start(scored.candidate)
            progress.finish(scored)
        progress.finish(replace(teacher("org/partly", 0.1), rows=9, not_finite=1))
        progress.finish(RankedTeacher(TeacherCandidate("org/gated", "ab12"), skipped="it is\ngated"))
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "org/best: information_gain 0.900 (1.2 s), rank 1 so far\n" in captured.err
    assert (
        "org/weak: information_gain 0.200 (1.2 s), rank 2 so far, below the line of the input features\n"
        in captured.err
    )
    assert "org/partly: information_gain 0.100" in captured.err
    assert "features. Its outputs are NaN or infinite for 1 of 10 rows, which were left out" in captured.err
    assert "org/gated: skipped, it is gated\n" in captured.err


def test_the_line_of_a_student_that_was_named_is_called_so(board, capsys):
    board.baseline = replace(board.baseline, student="org/small")
    with Progress(board, show=True) as progress:
        progress.finish(teacher("org/weak", 0.2))
    assert "rank 1 so far, below the line of your student\n" in capsys.readouterr().err


def test_on_a_terminal_the_table_is_redrawn(board, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(leaderboard, "Console", lambda stderr: Console(file=screen, force_terminal=True, width=100))
    assert leaderboard.on_terminal()
    with Progress(board, show=True, live=True) as progress:
        progress.finish(teacher("org/best", 0.9))
    assert "org/best" in screen.getvalue() and "rank 1 so far" not in screen.getvalue()


def test_nothing_is_shown_unless_asked_for(board, capsys):
    with Progress(board, show=False, live=True) as progress:
        progress.finish(teacher("org/best", 0.9))
    assert capsys.readouterr().err == ""
