import pytest
from tiny_suite import runs_with

from benchmarks.evidence.analysis import load_runs
from benchmarks.evidence.grid import ALONE, DETAILED, METHODS
from benchmarks.evidence.readme import BEGIN, END, LOSSES, fill, losses_record, losses_table, save
from hf_ctkd import losses
from hf_ctkd.errors import InvalidArgumentError


def test_every_measured_loss_has_its_line_with_gain_and_worst_case(tmp_path):
    runs = load_runs(runs_with(DETAILED, 0.1))
    record = losses_record(runs)
    assert record["losses"]["default"]["gain"] == {"mean": 10.0, "low": 10.0, "high": 10.0}
    assert record["losses"]["default"]["worst"]["mean"] == pytest.approx(10.0)
    assert "worst" not in record["losses"]["bss"]
    assert set(LOSSES) == {*METHODS, *ALONE, "input features, transported"}
    save(runs, tmp_path / "losses.json")
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n\n{BEGIN}\nold\n{END}\nafter\n")
    fill(readme, tmp_path / "losses.json")
    text = readme.read_text()
    assert text.startswith("before") and text.endswith("after\n") and "old" not in text
    assert "| `RowTransportLoss()` | features | +10.0 (+10.0 to +10.0) |" in text


def test_every_loss_of_the_library_is_in_the_table():
    table = losses_table({"losses": {}})
    missing = [name for name in losses.__all__ if name not in table and name not in ("DistillationLoss", "LossContext")]
    assert not missing
    assert "not measured" in table


def test_a_readme_without_markers_is_refused(tmp_path):
    save(load_runs(runs_with(DETAILED[:1], 0.1)), tmp_path / "losses.json")
    readme = tmp_path / "README.md"
    readme.write_text("nothing here")
    with pytest.raises(InvalidArgumentError, match="must hold the markers <!-- losses:begin -->"):
        fill(readme, tmp_path / "losses.json")
