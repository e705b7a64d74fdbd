from dataclasses import replace

from hf_ctkd.cli.printing import next_command, results_table, results_text
from hf_ctkd.records import Confidence, DistillationRecord, LossRecord, StudentRecord, TaskRecord


def record(**changes) -> DistillationRecord:
    return DistillationRecord(
        task=TaskRecord("me/pets", "1f2e", "image-classification", "image", "label", ("cat", "dog"), 60, 20, 30),
        student=StudentRecord("ResNetForImageClassification", parameters=6),
        teachers=(),
        loss=LossRecord("row_transport", {}, ""),
        **changes,
    )


def test_results_with_their_intervals():
    found = results_table(record(results={"accuracy": Confidence(0.9, 0.8, 0.95)}))
    assert found == "metric                 student\naccuracy  0.900 [0.800, 0.950]"


def test_what_was_evaluated_on_is_said_and_intervals_only_where_there_are_any():
    assert results_text(record()) == "There was nothing to evaluate on; name rows with `--eval_split`."
    plain = record(results={"accuracy": Confidence(0.9)})
    assert results_text(plain) == "On 30 evaluation rows:\nmetric    student\naccuracy    0.900"
    measured = results_text(record(results={"accuracy": Confidence(0.9, 0.8, 0.95)}))
    assert measured.startswith("On 30 evaluation rows, with 95 % intervals:\nmetric")


def test_the_gain_over_the_baseline():
    results = {"accuracy": Confidence(0.9, 0.8, 0.95), "f1": Confidence(0.5, 0.4, 0.6)}
    measured = record(results=results, baseline={"accuracy": Confidence(0.92, 0.9, 0.95)})
    lines = results_table(measured).splitlines()
    assert lines[0].split() == ["metric", "student", "without", "distillation", "difference"]
    assert lines[1].endswith("0.920 [0.900, 0.950]      -0.020")
    assert lines[2].split()[-2:] == ["-", "-"]
    paired = replace(measured, gain={"accuracy": Confidence(-0.02, -0.03, 0.01)})
    assert results_table(paired).splitlines()[1].endswith("0.920 [0.900, 0.950]  -0.020 [-0.030, +0.010]")


def test_a_gain_that_may_be_due_to_chance_is_said_to_be():
    results = {"accuracy": Confidence(0.9, 0.8, 0.95), "f1": Confidence(0.9, 0.8, 0.95)}
    baseline = {"accuracy": Confidence(0.88, 0.75, 0.93), "f1": Confidence(0.88, 0.75, 0.93)}
    gain = {"accuracy": Confidence(0.02, 0.01, 0.03), "f1": Confidence(0.02, -0.01, 0.05)}
    text = results_text(record(results=results, baseline=baseline, gain=gain))
    assert text.splitlines()[-1] == "The interval of the difference in f1 includes 0: it may be due to chance."
    gain["f1"] = Confidence(0.0, 0.0, 0.0)
    text = results_text(record(results=results, baseline=baseline, gain=gain))
    assert text.splitlines()[-1] == "In f1 both students do alike on every row." and "chance" not in text
    assert text.splitlines()[-2].endswith("  +0.000")
    del gain["f1"]
    assert "chance" not in results_text(record(results=results, baseline=baseline, gain=gain))


def test_the_next_command_can_be_pasted():
    assert next_command(["publish", "my student", "me/x"]) == "Next:  hf-ctkd publish 'my student' me/x"
