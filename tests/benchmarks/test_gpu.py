"""The benchmark of accelerators, whole, on the CPU."""

import json

import pytest
import torch

from benchmarks import gpu


def test_each_row_is_on_disk_once_it_is_measured(tmp_path):
    report = gpu.Report(tmp_path / "new", {"device": "none"})
    report.row("solvers", solver="ours", seconds=0.123456)
    report.note("solvers", "POT is not installed.")
    report.row("solvers", solver="peer", bar=gpu.against(2.0, 3, least=True))
    expected = "| solver | seconds | bar |\n|---|---|---|\n| ours | 0.1235 |  |\n| peer |  | >= 3, **missed** |\n"
    assert (tmp_path / "new" / "solvers.md").read_text() == expected + "\nPOT is not installed.\n"
    assert len(json.loads((tmp_path / "new" / "tables.json").read_text())["tables"]["solvers"]) == 2


@pytest.mark.parametrize(
    ("ratio", "least", "met"), [(2, True, True), (2, False, True), (1, True, False), (3, False, False)]
)
def test_bars(ratio, least, met):
    assert ("missed" not in gpu.against(ratio, 2, least=least)) == met


def test_a_section_that_lacks_a_package_or_fails_leaves_the_others(tmp_path, monkeypatch, capsys):
    def lacks(*_):
        raise ModuleNotFoundError("No module named 'datasets'", name="datasets")

    def fails(*_):
        raise RuntimeError("broken")

    ran = []
    monkeypatch.setattr(gpu, "SECTIONS", {"a": lacks, "b": fails, "c": lambda *_: ran.append(1)})
    report = gpu.Report(tmp_path, {})
    assert gpu.run(["a", "b", "c"], report, gpu.SMALL, torch.device("cpu")) == 1
    assert report.notes["a"] == ["Not run to its end: the package datasets is not installed."]
    assert report.notes["b"] == ["Failed: RuntimeError: broken"] and ran == [1]
    assert "RuntimeError: broken" in capsys.readouterr().err


def test_without_peers_their_rows_are_named_and_ours_are_there(tmp_path, monkeypatch):
    from benchmarks.transport import peers

    monkeypatch.setattr(peers, "installed", lambda package: False)
    report = gpu.Report(tmp_path, {})
    assert gpu.run(["solvers", "clouds"], report, gpu.SMALL, torch.device("cpu")) == 0
    assert report.notes["solvers"][0] == "POT is not installed: its rows are missing."
    assert report.notes["clouds"][0] == "geomloss is not installed: its row is missing."
    assert [row["solver"] for row in report.tables["solvers"]][1:] == ["ours", "ours"]
    assert report.tables["clouds"][0]["solver"] == "ours"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is an accelerator")
def test_no_accelerator(capsys):
    with pytest.raises(SystemExit):
        gpu.main(["--output", "nowhere"])
    assert "--device cuda needs an accelerator, and torch sees none here" in capsys.readouterr().err


@pytest.mark.slow
def test_the_whole_script_runs_on_the_cpu(tmp_path):
    pytest.importorskip("ot", minversion="0.9.7.post1", reason="older versions of POT solve no batches")
    assert gpu.main(["--output", str(tmp_path), "--device", "cpu", "--small"]) == 0
    tables = json.loads((tmp_path / "tables.json").read_text())["tables"]
    assert list(tables) == list(gpu.SECTIONS)
    steps = [row["step"] for row in tables["trainer"]]
    assert {"plain `Trainer`", "kept, 1 teacher", "online, 1 teacher", "committee of 3"} <= set(steps)
    assert {path.name for path in tmp_path.iterdir()} == {"tables.json", *(f"{name}.md" for name in gpu.SECTIONS)}
