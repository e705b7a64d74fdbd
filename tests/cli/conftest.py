"""The command line called in this process, on a shelf of tiny rows, teachers and students."""

import json
from pathlib import Path

import pytest
from command_fixtures import _own_folders  # noqa: F401
from tiny_shelf import SMALL, image_rows, save_bert, save_resnet, text_rows, write_splits

from hf_ctkd.cli.main import main


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """Models and rows that no test changes."""
    shelf = tmp_path_factory.mktemp("shelf")
    write_splits(shelf / "squares", train=image_rows(24), test=image_rows(12, seed=1))
    write_splits(shelf / "animals", train=text_rows(), validation=text_rows())
    save_resnet(shelf / "zoo" / "four", 4)
    save_resnet(shelf / "zoo" / "encoder", 2, seed=1, headless=True)
    save_resnet(shelf / "student", 3, seed=2)
    save_bert(shelf / "bert")
    return shelf


@pytest.fixture
def run(capsys):
    """Call the command line; gives exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main([str(word) for word in words])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def select(run, shelf):
    def call(*words: object, dataset: object = None, zoo: object = None):
        rows = shelf / "squares" if dataset is None else dataset
        candidates = [] if zoo is False else ["--zoo", shelf / "zoo" if zoo is None else zoo]
        return run("select", "--dataset", rows, *candidates, *words)

    return call


@pytest.fixture
def distill(run, shelf):
    def call(*words: object, dataset: object = None, student: object = None, teachers: object = None):
        taught = ["--teachers", shelf / "zoo" / "four" if teachers is None else teachers]
        return run(
            "distill",
            "--dataset",
            shelf / "squares" if dataset is None else dataset,
            "--student",
            shelf / "student" if student is None else student,
            *([] if teachers is False else taught),
            *SMALL,
            *words,
        )

    return call


@pytest.fixture(scope="session")
def distilled(shelf, tmp_path_factory) -> Path:
    """The folder of a finished student, made once; copy it before changing it."""
    folder = tmp_path_factory.mktemp("distilled") / "student"
    words = ["--student", shelf / "student", "--teachers", shelf / "zoo" / "four", "--output_dir", folder]
    cache = ["--cache_dir", tmp_path_factory.mktemp("cache")]
    assert main(["distill", "--dataset", *map(str, [shelf / "squares", *words, *SMALL, *cache])]) == 0
    return folder


@pytest.fixture
def read_json():
    return lambda path: json.loads(Path(path).read_text())
