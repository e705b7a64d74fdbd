import torch

from benchmarks import size
from benchmarks.results_file import put
from hf_ctkd.types import RowOutputs


def test_features_are_made_as_they_are_read():
    outputs = size.MadeUpOutputs(25)
    assert isinstance(outputs, RowOutputs) and len(outputs) == 25
    everything = outputs.select(torch.ones(25, dtype=torch.bool)).features
    assert torch.equal(torch.cat([part.features for _, part in outputs.chunks(10)]), everything)
    assert len(everything.unique(dim=0)) == 25


def test_the_set_up_of_the_default_loss_is_measured():
    measured = size.measure("set-up", 400)
    assert (measured.case, measured.rows) == ("set-up", 400)
    assert 0 < measured.start <= measured.peak and measured.seconds > 0


def test_the_table_names_the_growth_and_what_has_not_run(tmp_path):
    lines = [size.Measurement("rank", rows, 400.0, 500.0 + rows / 1e4, 1.0) for rows in (10_000, 100_000)]
    section = size.table(lines)
    assert "| rank | 10,000 | 1.0 | 400 | 501 |  |" in section
    assert "| rank | 100,000 | 1.0 | 400 | 510 | 0.10 |" in section and "Not run yet: 1,000,000 rows." in section
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n")
    put(section, size.BEGIN, size.END, path)
    put(size.table(lines[:1]), size.BEGIN, size.END, path)
    assert path.read_text().count(size.BEGIN) == 1 and "| 100,000 |" not in path.read_text()
