"""`--json` prints one object on stdout and nothing else; what is said besides goes to stderr."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hub_server import model_files
from tiny_shelf import SMALL, image_rows

from hf_ctkd.cli import export
from hf_ctkd.cli.arguments import COMMANDS, ParsedCommand, PrintingArguments
from hf_ctkd.cli.printing import run_and_print
from hf_ctkd.demo import run as demo
from hf_ctkd.demo.comparison import Comparison
from hf_ctkd.evaluation.export import OnnxExport
from hf_ctkd.generic import StudentPool
from hf_ctkd.records import Confidence


@pytest.fixture
def printed(run):
    """The object that a command prints, and what it says besides."""

    def call(*words: object) -> tuple[dict, str]:
        code, out, err = run(*words, "--json")
        assert code == 0, err
        return json.loads(out), err

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_both_flags(name):
    assert issubclass(COMMANDS[name].arguments, PrintingArguments)


def test_of_a_student(printed, shelf):
    words = ["--dataset", shelf / "squares", "--student", shelf / "student", "--teachers", shelf / "zoo" / "four"]
    found, said = printed("distill", *words, *SMALL, "--output_dir", "out")
    assert found == {
        "folder": "out",
        "card": "out/README.md",
        "record": json.loads(Path("out/distillation.json").read_text()),
    }
    assert "Card: out/README.md" in said and "'train_loss'" in said


def test_of_a_generic_teacher(printed, shelf):
    StudentPool("resnet", ((1, 2), (1, 2)), widths=((4, 8), (8,)), input_size=8).save("pool.json")
    words = ["--pool", "pool.json", "--dataset", shelf / "squares", "--teacher", shelf / "student", *SMALL]
    found, _ = printed("generic-teacher", "train", *words, "--students", 1, "--output_dir", "out")
    assert found.pop("record") == json.loads(Path("out/distillation.json").read_text())
    students = [str(path) for path in Path("out/students").iterdir()]
    assert found == {"folder": "out", "card": "out/README.md", "pool": "out/pool.json", "students": students}


def test_of_targets(printed, shelf):
    words = ["--dataset", shelf / "squares", "--teachers", shelf / "zoo" / "four", "--output", "made"]
    found, said = printed("targets", *words)
    assert isinstance(found.pop("remarks"), list) and "Card: made/README.md" in said
    assert 0 < found.pop("input_share") < 1 and 0 < found.pop("strength") <= 1
    assert found == {
        "output": "made",
        "column": "soft_targets",
        "rows": 24,
        "card": "made/README.md",
        "address": None,
    }


def test_of_predictions_and_a_page(printed, distilled, select):
    image_rows(1)["image"][0].save("one.png")
    found, _ = printed("predict", distilled, "one.png", "--output", "labels.csv")
    assert found == {"output": "labels.csv", "rows": 1}
    assert select()[0] == 0
    assert printed("report", "ranking.json")[0] == {"page": "report.html"}


def test_of_an_index(printed, hub, logged_in):
    hub.add("org/cats", model_files(labels=["tabby cat", "dog"], parameters=2000), downloads=7)
    assert printed("index", "build", "--index", "all")[0] == {"index": "all", "teachers": 1}
    found, said = printed("index", "search", "--index", "all", "--label_names", "cats", "dogs")
    ((teacher,),) = found.values()
    assert teacher["model_id"] == "org/cats" and teacher["label_names"] == ["tabby cat", "dog"] and "cost" in teacher
    assert "Next:  hf-ctkd select --dataset DATASET --index all --limit 50\n" in said
    found, _ = printed("index", "push", "--index", "all", "--repo_id", "me/teachers", "--public")
    assert "me/teachers" in found["address"] and found["public"]
    assert printed("index", "pull", "--index", "mine", "--repo_id", "me/teachers")[0]["teachers"] == 1


def test_of_what_is_published(printed, hub, logged_in, distilled):
    shutil.copytree(distilled, "student")
    found, _ = printed("publish", "student", "me/student")
    assert "me/student" in found["address"] and not found["public"]


def test_of_an_export(printed, monkeypatch):
    made = OnnxExport(Path("student.onnx"), ("pixel_values",), 1e-6, 0.5, 1.5)
    monkeypatch.setattr(export, "export_onnx", lambda student, output, options: made)
    assert printed("export", "student")[0] == {
        "path": "student.onnx",
        "inputs": ["pixel_values"],
        "difference": 1e-6,
        "milliseconds": 0.5,
        "milliseconds_before": 1.5,
    }


class Part:
    plan = demo.PLANS["image"]
    folder = Path("demo/image-student")
    students = (Comparison("best teacher", 0.9, Confidence(0.1, 0.0, 0.2)),)
    model_folders = ()


@pytest.mark.parametrize("words", [[], ["--quiet"]])
def test_of_the_demo(printed, monkeypatch, words):
    shown = []

    def run_demo(folder, *, modalities, report, progress):
        shown.append(progress)
        report("image: teachers")
        return [Part()]

    monkeypatch.setattr(demo, "run_demo", run_demo)
    found, said = printed("demo", *words)
    (part,) = found.pop("parts")
    assert found == {"page": "demo/report.html"} and shown == [not words] and "image: teachers" in said
    assert (part["name"], part["folder"], part["students"][0]["accuracy"]) == ("image", "demo/image-student", 0.9)
    assert part["students"][0]["gain"]["value"] == 0.1


def test_what_other_programs_print_is_no_part_of_the_object(capfd):
    def command(_: ParsedCommand) -> dict[str, int]:
        subprocess.run([sys.executable, "-c", "print('from another program')"], check=True)
        print("from this one")
        return {"made": 1}

    run_and_print(command, ParsedCommand(PrintingArguments(json=True), ()))
    out, err = capfd.readouterr()
    assert json.loads(out) == {"made": 1}
    assert err.splitlines() == ["from another program", "from this one"]


def test_an_error_prints_no_object(run):
    code, out, err = run("report", "nowhere.json", "--json")
    assert (code, out) == (1, "") and err.startswith("hf-ctkd report: error: ")
