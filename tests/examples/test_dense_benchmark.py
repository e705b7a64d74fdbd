"""The grid of dense students resumes, and compares students of the same seed."""

import csv

from hf_ctkd.losses.distances import Attention

SHORT = (
    "--tasks", "depth", "--scenes", "6", "--seeds", "1", "--distances", "l2", "at", "--teacher", "random-weights",
    "--test_scenes", "4", "--steps", "1", "--batch_size", "4",
)  # fmt: skip


def test_it_makes_each_run_once(run_example, tmp_path):
    printed = run_example("dense_prediction/benchmark.py", *SHORT, "--results", tmp_path / "dense.csv")
    assert "10 of 10 runs are missing" in printed
    lines = list(csv.DictReader((tmp_path / "dense.csv").read_text().splitlines()))
    assert len(lines) == 10 and all(float(line["value"]) > 0 for line in lines)
    assert {(line["distance"], line["direction"]) for line in lines} == {
        ("", ""), ("l2", "inverted"), ("l2", "traditional"), ("at", "inverted"), ("at", "traditional"),
    }  # fmt: skip
    (plain,) = [line for line in printed.splitlines() if line.startswith("| depth | 6 | plain |")]
    assert plain.endswith("| +0.0 | 1 |") or plain.endswith("| -0.0 | 1 |")
    weights = {(line["distance"], line["weight"]) for line in lines}
    assert weights == {("", ""), ("l2", "0.1"), ("at", str(Attention.usual_weight))}
    again = run_example("dense_prediction/benchmark.py", *SHORT, "--results", tmp_path / "dense.csv")
    assert "0 of 10 runs are missing" in again
    other = run_example(
        "dense_prediction/benchmark.py", *SHORT, "--results", tmp_path / "dense.csv", "--learning_rate", "1e-3",
        "--minutes", "0",
    )  # fmt: skip
    assert "10 of 10 runs are missing" in other and "out of time" in other


def test_weights_are_compared_on_a_seed_that_no_grid_has(run_example, tmp_path):
    printed = run_example(
        "dense_prediction/benchmark.py", *SHORT, "--results", tmp_path / "trials.csv", "--weights", "0.1", "1",
    )  # fmt: skip
    assert "5 of 5 runs are missing" in printed
    lines = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert {line["seed"] for line in lines} == {"1000"} and {line["direction"] for line in lines} == {"", "inverted"}
    tried = [(line["distance"], line["weight"]) for line in lines]
    assert tried == [("", ""), ("l2", "0.1"), ("l2", "1.0"), ("at", "0.1"), ("at", "1.0")]
    assert "| depth | 6 | random-weights | at | inverted | 0.1 |" in printed
