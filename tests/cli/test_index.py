from dataclasses import replace
from pathlib import Path

import pytest
from hub_server import model_files

from hf_ctkd.index import TeacherIndex
from hf_ctkd.records import TeacherRanking


@pytest.fixture
def models(hub):
    hub.add("org/cats", model_files(labels=["tabby cat", "dog", "cow", "pig", "hen"], parameters=2000), downloads=7)
    hub.add("org/cars", model_files(labels=["sports car", "truck"], card="license: mit"))


def test_built_and_searched(run, models, shelf):
    code, out, err = run("index", "build", "--task", "image-classification", "--index", "all")
    assert code == 0, err
    assert out == "2 teachers in all.\nNext:  hf-ctkd index search --index all --label_names cat dog\n"
    code, out, _ = run("index", "search", "--index", "all", "--label_names", "cats", "dogs", "--k", 3)
    assert code == 0
    line = next(line for line in out.splitlines() if "org/cats" in line)
    assert "image-classification" in line and "tabby cat, dog, cow, pig, and 1 more" in line and "org/cars" not in out
    assert "Next:  hf-ctkd select --dataset DATASET --index all --limit 3" in out
    code, out, _ = run("index", "search", "--index", "all", "--label_names", "cat", "--license", "mit")
    assert code == 0 and out == (
        "None of the 2 teachers has classes with similar names and meets all conditions. Try another `--encoder`, or "
        "fewer conditions.\n"
    )
    code, out, _ = run("index", "search", "--index", "all", "--dataset", shelf / "animals")
    assert code == 0 and "org/cats" in out


def test_the_next_command_has_the_rows_and_conditions_of_the_search(run, models, shelf):
    assert run("index", "build", "--task", "image-classification", "--index", "all")[0] == 0
    conditions = ["--index", "all", "--task", "image-classification", "--max_parameters", 5e6]
    code, out, _ = run("index", "search", "--dataset", shelf / "animals", "--split", "train[:9]", *conditions)
    shared = "--max_parameters 5000000.0 --split 'train[:9]' --index all --task image-classification --limit 50"
    assert code == 0 and f"Next:  hf-ctkd select --dataset {shelf / 'animals'} {shared}\n" in out


def test_pushed_and_pulled(run, models, logged_in, hub):
    assert run("index", "build", "--index", "all")[0] == 0
    code, out, _ = run("index", "push", "--index", "all", "--repo_id", "me/teachers")
    assert code == 0 and out.startswith("Pushed for you alone: http")
    code, out, _ = run("index", "pull", "--index", "new", "--repo_id", "me/teachers")
    assert code == 0 and out.startswith("2 teachers in new.")
    assert TeacherIndex.load("new").teachers == TeacherIndex.load("all").teachers


@pytest.mark.parametrize(
    ("words", "message"),
    [("search --label_names cat", "teachers-index holds no index of teachers. Name another folder, or make one with"),
     ("search", "No classes to search for. Name them with `--label_names`, or a data set with"),
     ("search --label_names cat --k 0 --index all", "`--k` must be at least 1, got 0"),
     ("search --label_names cat --max_parameters -1", "`--max_parameters` must be a positive number, got -1"),
     ("search --label_names LABEL_0 --index all", "`--label_names` must name classes, got ['LABEL_0']"),
     ("build --limit 0", "`--limit` must be at least 1, got 0"),
     ("build --zoo nowhere", "nowhere is no folder. Check the spelling"),
     ("push", "`--repo_id` must name a data set on the Hub"),
     ("pull --repo_id me/none", "The index 'me/none' cannot be fetched: it is private or missing")],
)  # fmt: skip
def test_mistakes_end_in_one_line(run, models, tmp_path, words, message):
    run("index", "build", "--index", "all")
    code, out, err = run("index", *words.split())
    assert (code, out) == (1, "") and message in err and len(err.splitlines()) == 1


def test_an_action_is_needed(run):
    code, _, err = run("index", "sort")
    assert code == 2 and "ACTION" in err


def test_select_shortlists_by_an_index(select, run, shelf, tmp_path):
    assert run("index", "build", "--zoo", shelf / "zoo", "--index", "zoo-index")[0] == 0
    code, _, err = select("--index", "zoo-index", zoo=False)
    assert code == 1 and "None of the 2 teachers of `--index` zoo-index that may be used has classes with names" in err
    teachers = TeacherIndex.load("zoo-index").teachers
    named = [replace(teacher, label_names=("dark red", "bright", "x", "y")) for teacher in teachers]
    TeacherIndex.build(named, tmp_path / "named")
    code, out, err = select("--index", "named", "--max_rows", 12, "--task", "image-classification", zoo=False)
    assert code == 0, err
    assert len(TeacherRanking.load(tmp_path / "ranking.json").scored) == 1
    code, _, err = select("--index", "named", "--author", "me", zoo=False)
    assert code == 1 and "`--search` and `--author` search the Hub, but `--index` was given." in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--label_names", "cat", "--author", "me"], "`hf-ctkd index search` does not read `--author`."),
        (["build", "--k", "3"], "`hf-ctkd index build` does not read `--k`. Leave it out."),
        (["build", "--zoo", "zoo", "--limit", "3"], "`--limit` searches the Hub, but `--zoo` names a folder."),
        (["push", "--repo_id", "me/x", "--task", "x"], "`hf-ctkd index push` does not read `--task`."),
        (["build", "--limit", "0"], "`--limit` must be at least 1, got 0."),
    ],
)
def test_flags_that_an_action_does_not_read(run, words, message):
    code, out, err = run("index", *words)
    assert (code, out) == (1, "") and message in err and not Path("teachers-index").exists()
