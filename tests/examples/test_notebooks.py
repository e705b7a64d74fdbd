"""The notebooks run from top to bottom; nbclient would need Jupyter's kernel, cells of plain Python do not."""

import json
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "examples" / "notebooks").glob("*.ipynb"))


def _cells(path):
    notebook = json.loads(path.read_text())
    assert notebook["nbformat"] == 4
    return notebook["cells"]


def test_there_is_one_for_images_and_one_for_texts_without_stored_output():
    assert [path.stem for path in NOTEBOOKS] == ["images", "texts"]
    for path in NOTEBOOKS:
        cells = _cells(path)
        assert cells[0]["cell_type"] == "markdown" and len({cell["id"] for cell in cells}) == len(cells)
        assert not any(cell.get("outputs") for cell in cells)


@pytest.mark.guides
@pytest.mark.filterwarnings("ignore:'pin_memory' argument:UserWarning")  # Trainer's default, where there is no GPU
@pytest.mark.timeout(600)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_CTKD_CACHE", str(tmp_path / "cache"))
    names = {"__name__": "__main__"}
    for number, cell in enumerate(_cells(path)):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"{path.name}, cell {number}", "exec"), names)
    printed = capsys.readouterr().out
    assert ("student - baseline" in printed) if path.stem == "images" else ("of 18 right" in printed)
