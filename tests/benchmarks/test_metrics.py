import json

from benchmarks import metrics


def test_the_section_replaces_the_one_before(tmp_path, monkeypatch):
    (tmp_path / "RESULTS.md").write_text("# Results\n")
    monkeypatch.setattr(metrics, "HERE", tmp_path)
    for lines in (["old"], ["new"]):
        metrics.write(lines)
    expected = "# Results\n\n<!-- metrics:begin -->\n## Cost of the metrics\n\nnew\n<!-- metrics:end -->\n"
    assert (tmp_path / "RESULTS.md").read_text() == expected


def test_every_metric_is_measured_and_told_beside_what_it_was(monkeypatch):
    monkeypatch.setattr(metrics.rows_of, "__kwdefaults__", {"rows": 24, "width": 5, "noise": 1.0})
    table = metrics.measured(list(metrics.METRICS), [3])
    assert list(table) == list(metrics.METRICS) and json.loads(json.dumps(table))
    lines = metrics.section({"LEEP": [(0.1, -1.0)]}, {"LEEP": [(0.5, -1.25)]}, [3])
    assert "| LEEP | 0.50 -> 0.10 |" in lines and "| LEEP | -1.25000, -1.00000 |" in lines
    alone = metrics.section({"LEEP": [(0.1, -1.0)]}, {}, [3])
    assert "| LEEP | 0.10 |" in alone and "| LEEP | -1.00000 |" in alone and "before" not in " ".join(alone)
