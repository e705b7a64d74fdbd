import json
import os
from pathlib import Path

import pytest

from hf_ctkd.records import RankedTeacher, TeacherCandidate, TeacherRanking


@pytest.fixture
def ranking():
    teachers = [RankedTeacher(TeacherCandidate("org/best", "ab12"), {"leep": -0.1}, rows=20, seconds=1.0)]
    TeacherRanking.of(teachers, "leep", dataset={"name": "me/pets"}, settings={}).save("ranking.json")


def test_a_page_is_written_and_may_be_written_again(run, ranking):
    code, out, err = run("report", "ranking.json")
    assert (code, err) == (0, "")
    assert out == "Written to report.html. Open it in a browser; it loads nothing from elsewhere.\n"
    page = Path("report.html").read_text()
    assert "org/best" in page and "Teachers for me/pets" in page
    assert run("report", "ranking.json")[0] == 0
    assert run("report", "ranking.json", "--output", "new/page.html")[0] == 0
    assert Path("new/page.html").read_text() == page


def test_a_student_adds_its_results(run, ranking):
    student = Path(__file__).parents[2] / "model_cards" / "digits-image-student"
    code, out, err = run("report", student / "ranking.json", "--student", student)
    assert code == 0, err
    page = Path("report.html").read_text()
    assert "What students reached" in page and "How the classes of handwriting were carried over" in page
    code, out, err = run("report", "ranking.json", "--student", student, "--overwrite")
    assert (code, out) == (1, "")
    assert err == (
        f"hf-ctkd report: error: `--student` {student} was distilled from 'handwriting', which is not in the ranking. "
        "Name the ranking that it was chosen by.\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [("nowhere.json", "Cannot read nowhere.json: No such file or directory. Check the path."),
     ("ranking.json --output mine.html", "`--output` mine.html exists already, and would be replaced."),
     ("ranking.json --output .", "`--output` . is a folder. Name a file."),
     ("ranking.json --student nowhere", "Cannot read nowhere/distillation.json")],
)  # fmt: skip
def test_mistakes_end_in_one_line(run, ranking, words, message):
    Path("mine.html").write_text("<p>mine</p>")
    code, out, err = run("report", *words.split())
    assert (code, out) == (1, "") and message in err and len(err.splitlines()) == 1
    assert Path("mine.html").read_text() == "<p>mine</p>" and not Path("report.html").exists()


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("rows", "x"),
        ("labelled_rows", {"a": 1}),
        ("scored_rows", True),
        ("label_names", True),
        ("scored_rows_of_class", {"cat": []}),
        ("scored_rows_of_class", "x"),
        ("versions", []),
    ],
)
def test_a_fact_of_another_type(run, ranking, fact, value):
    record = json.loads(Path("ranking.json").read_text())
    record["settings" if fact == "versions" else "dataset"][fact] = value
    Path("ranking.json").write_text(json.dumps(record))
    code, out, err = run("report", "ranking.json")
    assert (code, out) == (1, "") and f"ranking.json: The fact '{fact}' of a ranking must hold" in err
    assert len(err.splitlines()) == 1 and not Path("report.html").exists()


def test_a_pipe_is_not_replaced(run, ranking):
    os.mkfifo("pipe")
    code, _, err = run("report", "ranking.json", "--output", "pipe", "--overwrite")
    assert code == 1 and "`--output` pipe is a device or pipe. Name a file." in err and Path("pipe").is_fifo()
