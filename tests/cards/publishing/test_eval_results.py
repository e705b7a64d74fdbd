from dataclasses import replace

import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from hf_ctkd.cards.eval_results import write_eval_results
from hf_ctkd.records import Confidence


def test_one_file_a_metric_in_the_form_of_the_hub(record, tmp_path):
    names = write_eval_results(tmp_path, record)
    assert names == [".eval_results/hf_ctkd-accuracy.yaml", ".eval_results/hf_ctkd-f1.yaml"]
    [entry] = parse_eval_result_entries(yaml.safe_load((tmp_path / names[0]).read_text()))
    assert entry == EvalResultEntry(
        dataset_id="me/pets",
        task_id="default",
        value=0.9,
        notes="accuracy on 30 rows of the split test; 95 % bootstrap interval 0.8000 to 0.9500",
    )


def test_value_without_an_interval_claims_none(record, tmp_path):
    [name] = write_eval_results(tmp_path, replace(record, results={"accuracy": Confidence(0.9)}))
    [entry] = parse_eval_result_entries(yaml.safe_load((tmp_path / name).read_text()))
    assert (entry.value, entry.notes) == (0.9, "accuracy on 30 rows of the split test")


def test_nothing_for_data_that_are_not_on_the_hub(record, tmp_path):
    assert write_eval_results(tmp_path, replace(record, task=replace(record.task, dataset="docstrings"))) == []
    assert not (tmp_path / ".eval_results").exists()


def test_files_of_an_earlier_run_go_and_those_of_others_stay(record, tmp_path):
    write_eval_results(tmp_path, record)
    (tmp_path / ".eval_results" / "mine.yaml").write_text("[]")
    write_eval_results(tmp_path, replace(record, results={"accuracy": record.results["accuracy"]}))
    assert {path.name for path in (tmp_path / ".eval_results").iterdir()} == {"hf_ctkd-accuracy.yaml", "mine.yaml"}
