"""A shelf of tiny texts, a teacher, a ranking and a finished student, and the command line called in this process."""

import shutil
from pathlib import Path

import pytest
from command_fixtures import _own_folders  # noqa: F401
from tiny_shelf import SMALL, save_bert, text_rows, write_splits

from hf_ctkd.cli.main import main


@pytest.fixture(scope="session")
def shelf(tmp_path_factory) -> Path:
    """`rows`, `rows.csv`, `bert`, `ranking.json` and `student`, which no test may change."""
    shelf = tmp_path_factory.mktemp("shelf")
    later = text_rows().map(lambda row: {"text": f"{row['text']} again"})
    write_splits(shelf / "rows", train=text_rows(), test=later)
    text_rows(names=True).to_csv(shelf / "rows.csv")
    save_bert(shelf / "bert")
    cache = ["--cache_dir", str(tmp_path_factory.mktemp("cache"))]
    common = ["--dataset", str(shelf / "rows"), "--teachers", str(shelf / "bert"), *cache]
    assert main(["select", *common, "--output", str(shelf / "ranking.json")]) == 0
    words = ["--student", str(shelf / "bert"), "--ranking", str(shelf / "ranking.json"), *SMALL]
    assert main(["distill", *common, *words, "--output_dir", str(shelf / "student")]) == 0
    return shelf


@pytest.fixture
def copy(shelf, tmp_path):
    """Copy a file or folder of the shelf into the present folder."""

    def make(name: str, to: str | None = None) -> Path:
        target = tmp_path / (to or name)
        (shutil.copytree if (shelf / name).is_dir() else shutil.copy)(shelf / name, target)
        return target

    return make


@pytest.fixture
def refused(shelf, capfd):
    """Call a command that must be refused in one line of stderr; gives this line."""

    def call(command: str, *words: object, dataset: object = None, student: object = None) -> str:
        rows = ["--dataset", dataset or shelf / "rows"]
        common = {
            "select": [*rows, "--teachers", shelf / "bert"],
            "distill": [*rows, "--teachers", shelf / "bert", "--student", student or shelf / "bert", *SMALL],
            "publish": [],
        }[command]
        capfd.readouterr()
        try:
            code = main([command, *map(str, [*common, *words])])
        except SystemExit as stop:
            code = stop.code
        err = capfd.readouterr().err
        assert code in {1, 2}, err
        assert "Traceback" not in err
        lines = [line for line in err.strip().splitlines() if line.startswith("hf-ctkd")]
        assert len(lines) == 1 and err.strip().endswith(lines[0])
        return lines[0]

    return call
