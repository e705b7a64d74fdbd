import json
import math
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tiny_shelf import SMALL, image_rows, text_rows, write_splits

from hf_ctkd.records import DistillationRecord, TeacherRanking
from hf_ctkd.selection import TeacherSelector


@pytest.fixture
def all_know_more(monkeypatch):
    """Every teacher stands above the line of the input features, which tiny ones with random weights hardly reach."""
    monkeypatch.setattr(TeacherRanking, "_line", -math.inf)


@pytest.mark.usefixtures("all_know_more")
def test_a_ranking_is_printed_and_written(select, shelf, tmp_path):
    code, out, _ = select("--output", "new/ranking.json", "--max_rows", 12)
    assert code == 0
    ranking = TeacherRanking.load(tmp_path / "new" / "ranking.json")
    assert {teacher.candidate.name for teacher in ranking.scored} == {"four", "encoder"}
    assert ranking.dataset["name"] == f"{shelf / 'squares'} (train)"
    assert ranking.dataset["scored_rows"] == 12
    assert str(ranking) in out
    assert "Written to new/ranking.json." in out
    assert f"Next:  hf-ctkd distill --dataset {shelf / 'squares'} --ranking new/ranking.json --student" in out


def test_progress_can_be_silenced(select):
    code, _, err = select()
    assert code == 0 and "teacher/s" in err
    code, _, err = select("--quiet", "--overwrite", "--max_rows", 12)
    assert code == 0 and "it/s" not in err and "teacher/s" not in err and "row/s" not in err


def test_json_is_the_record_and_nothing_else(select, tmp_path):
    code, out, err = select("--json", "--max_rows", 12)
    assert code == 0
    assert json.loads(out) == json.loads((tmp_path / "ranking.json").read_text())
    assert ": information_gain " in err, "progress is on the other stream"
    code, out, _ = select("--json", "--quiet", zoo=tmp_path / "nowhere")
    assert (code, out) == (1, "")


def test_the_student_is_the_line_and_starts_the_next_command(select, shelf):
    code, out, err = select("--student", shelf / "student")
    assert code == 0, err
    ranking = TeacherRanking.load("ranking.json")
    assert ranking.baseline.student.name == "student"
    assert "your student: student" in out and ranking.advice in out
    assert out.rstrip().endswith(f"--student {shelf / 'student'}")
    code, out, err = select("--student", f"random:{shelf / 'student'}")
    assert code == 0, err
    assert TeacherRanking.load("ranking.json").baseline.student is None
    assert f"--student {shelf / 'zoo'}" in out and "random:" not in out


def test_the_next_command_lets_a_student_teach_itself_where_that_is_the_advice(select, run, shelf):
    student = shelf / "zoo" / "four"
    code, out, err = select("--teachers", student, "--student", student, "--committee", 1, zoo=False)
    assert code == 0, err
    assert "Let the student's own layers teach it: no candidate knows more" in out
    line = next(line for line in out.splitlines() if line.startswith("Next: "))
    assert line == f"Next:  hf-ctkd distill --dataset {shelf / 'squares'} --teachers {student} --student {student}"
    code, _, err = run(*line.split()[2:], *SMALL)
    assert code == 0, err
    record = DistillationRecord.load("student/distillation.json")
    assert [teacher.candidate.name for teacher in record.teachers] == ["four"] and record.results


def test_a_student_that_cannot_be_scored_is_one_line(select, shelf, tmp_path):
    code, _, err = select("--student", shelf / "bert")
    assert code == 1
    assert err.strip().splitlines()[-1] == (
        f"hf-ctkd select: error: `--student` '{shelf / 'bert'}' cannot be scored: takes input_ids, not image rows"
    )
    assert not (tmp_path / "ranking.json").exists()


def test_processes_share_the_teachers(select, tmp_path, monkeypatch):
    started = []

    def threads(processes):  # which share the teachers alike, and import nothing again
        started.append(processes)
        return ThreadPoolExecutor(processes)

    monkeypatch.setattr("hf_ctkd.selection.selector.ProcessExecutor", threads)
    code, out, err = select("--processes", 2)
    assert code == 0, err
    assert started == [2]
    assert len(TeacherRanking.load(tmp_path / "ranking.json").scored) == 2
    assert list((tmp_path / "cache" / "rows").iterdir())


def test_workers_that_cannot_be_had_are_one_line(select, monkeypatch):
    code, _, err = select("--processes", 0)
    assert code == 1
    assert err == "hf-ctkd select: error: `--processes` must be at least 1, got 0.\n"
    assert "`--teacher_workers` must be at least 0, got -1." in select("--teacher_workers", -1)[2]
    pytest.importorskip("distributed")
    code, _, err = select("--scheduler", "nowhere")
    assert code == 1
    assert "hf-ctkd select: error: `--scheduler` 'nowhere' cannot be reached:" in err


def test_a_scheduler_without_dask_names_the_extra(select, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, err = select("--scheduler", "tcp://127.0.0.1:8786")
    assert code == 1
    assert "`--scheduler` needs dask.distributed. Install it with `pip install hf_ctkd[dask]`." in err


@pytest.mark.usefixtures("all_know_more")
def test_a_committee_is_chosen_written_and_distilled_from(select, run, shelf, tmp_path):
    code, out, err = select("--committee", 2)
    assert code == 0, err
    members = TeacherRanking.load(tmp_path / "ranking.json").committee()
    assert 1 <= len(members) <= 2
    assert f"with {members[0].name}" in out
    command = f"distill --dataset {shelf / 'squares'} --ranking ranking.json --committee --loss committee --student"
    assert f"Next:  hf-ctkd {command}" in out
    code, _, err = run(*command.split(), shelf / "student", "--labels", 12, *SMALL)
    assert code == 0, err
    record = DistillationRecord.load(tmp_path / "student" / "distillation.json")
    assert [one.candidate.name for one in record.teachers] == [one.name for one in members]


def test_a_ranking_without_a_committee_says_so(select, run, shelf):
    assert select()[0] == 0
    common = ["distill", "--dataset", shelf / "squares", "--student", shelf / "student", "--committee"]
    code, _, err = run(*common, "--ranking", "ranking.json", *SMALL)
    assert code == 1 and "This ranking holds no committee." in err
    code, _, err = run(*common, "--teachers", shelf / "zoo" / "four", *SMALL)
    assert code == 1 and "`--committee` takes the teachers of a `--ranking`" in err


def test_flags_of_a_file_reach_the_next_command(select, shelf, tmp_path):
    (tmp_path / "flags.yaml").write_text("metric: leep\nmetrics: [nearest_neighbour]\nsplit: test\nseed: 3\n")
    code, out, _ = select("--config", "flags.yaml", "--seed", 4)
    assert code == 0
    ranking = TeacherRanking.load("ranking.json")
    assert (ranking.metric, ranking.settings["seed"]) == ("leep", 4)
    assert set(ranking.settings["metrics"]) == {"leep", "nearest_neighbour"}
    assert "--split test" in out


def test_text_rows_with_names_for_labels(select, shelf, tmp_path):
    text_rows(names=True).to_csv("rows.csv")
    code, out, err = select("--teachers", shelf / "bert", dataset="rows.csv", zoo=False)
    assert code == 0, err
    assert "hf-ctkd distill --dataset rows.csv" in out


def test_candidates_of_the_hub(select, hub, shelf):
    files = {path.name: path.read_bytes() for path in (shelf / "zoo" / "four").iterdir()}
    sha = hub.add("org/four", files)
    code, _, err = select("--teachers", "org/four", "org/gone", "./nowhere", "random:org/four", zoo=False)
    assert code == 0, err
    ranking = TeacherRanking.load("ranking.json")
    assert ranking.top(1)[0].revision == sha
    skipped = {teacher.candidate.model_id: teacher.skipped for teacher in ranking.teachers if teacher.skipped}
    assert set(skipped) == {"org/gone", "./nowhere"}
    assert "no such folder" in skipped["./nowhere"]
    assert "random weights like org/four" in {teacher.candidate.name for teacher in ranking.scored}


def test_no_candidate_left_says_why_each_fell_and_keeps_the_old_file(select, shelf, tmp_path):
    old = '{"kind": "teacher-ranking"}'
    (tmp_path / "ranking.json").write_text(old)
    code, out, err = select("--teachers", "./nowhere", shelf / "bert", zoo=False)
    assert code == 1
    assert "No teacher could be used out of 2." in err
    assert "nowhere: there is no such folder" in err and "bert: takes input_ids, not image rows" in err
    assert (tmp_path / "ranking.json").read_text() == old
    assert "skipped  bert" in out


def test_candidates_must_be_named(select):
    code, _, err = select(zoo=False)
    assert code == 1
    assert "No candidates were named. Give `--teachers`" in err


@pytest.mark.parametrize(
    ("labels", "words", "said"),
    [
        (lambda row: -1, [], "must have labelled rows, but every label is missing"),
        (lambda row: 0, [], "must hold at least two classes with labelled rows, got 1"),
        (lambda row: min(row, 1), [], "has a single labelled row"),
        (lambda row: row % 3, ["--label_column", "kind"], "`--label_column` 'kind' is not a column; the data set has"),
        (lambda row: row % 3, ["--label_column", "image"], "`--label_column` 'image' must hold classes"),
        (lambda row: row % 3, ["--input_column", "label"], "`--input_column` 'label' must hold images or texts"),
        (lambda row: row % 3, ["--metric", "leap"], "`--metric` 'leap' is no metric: choose one of"),
        (lambda row: row % 3, ["--max_rows", 0], "`--max_rows` must be at least 1, got 0"),
        (lambda row: row % 3, ["--split", "dev"], 'Unknown split "dev"'),
        (lambda row: row % 3, ["--zoo", "nowhere"], "nowhere is no folder"),
    ],
)
def test_bad_input_is_one_line(select, tmp_path, labels, words, said):
    folder = write_splits(tmp_path / "rows", train=image_rows(6, labels=labels))
    code, _, err = select(*words, dataset=folder)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("hf-ctkd select: error: ") and said in last
    assert "Traceback" not in err
    assert not (tmp_path / "ranking.json").exists()


def test_bad_rows_can_be_left_out(select, tmp_path, shelf):
    rows = text_rows()
    rows = rows.add_column("body", ["", *rows["text"][1:]]).remove_columns("text")
    folder = write_splits(tmp_path / "rows", train=rows)
    words = ["--teachers", shelf / "bert", "--input_column", "body"]
    code, _, err = select(*words, dataset=folder, zoo=False)
    assert code == 1 and "Row 0 of `body` is empty" in err
    assert select(*words, "--skip_bad_rows", dataset=folder, zoo=False)[0] == 0


def test_an_output_that_cannot_be_written_is_found_out_first(select, monkeypatch):
    monkeypatch.setattr(TeacherSelector, "rank", None)
    code, _, err = select("--output", "/proc/nothing/ranking.json")
    assert code == 1
    assert "`--output`: /proc/nothing cannot be written" in err


def test_interruption_says_where_scores_are(select, monkeypatch, tmp_path):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(TeacherSelector, "rank", interrupted)
    code, _, err = select()
    assert code == 130
    assert f"are kept in {tmp_path / 'cache'}; run the same command again" in err


def test_a_second_run_takes_scores_from_the_cache(select, read_json):
    assert select()[0] == 0
    first = read_json("ranking.json")
    assert select()[0] == 0
    second = read_json("ranking.json")
    assert [teacher["scores"] for teacher in first["teachers"]] == [teacher["scores"] for teacher in second["teachers"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--limit", "5"], "`--limit` bounds a search, but nothing is searched. Leave it out"),
        (["--license", "mit"], "`--license` is a condition for models on the Hub or of an index, but all candidates"),
        (["--encoder", "wordllama"], "`--encoder` compares names with those of an index. Name one with `--index`."),
        (["--committee", "0"], "`--committee` must be at least 1, got 0."),
        (["--eval_split", "tset"], "`--eval_split` 'tset' is not in "),
    ],
)
def test_flags_that_nothing_would_read(select, words, message):
    code, out, err = select(*words)
    assert (code, out) == (1, "") and message in err and not Path("ranking.json").exists()
