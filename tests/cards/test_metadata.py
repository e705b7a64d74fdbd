from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import EvalResultEntry, parse_eval_result_entries

from hf_ctkd.cards.metadata import binding_license, card_data, is_repo_id, repo_name, short_name, write_eval_results
from hf_ctkd.records import Confidence


@pytest.mark.parametrize("name", ["google/vit-base-patch16-224", "me/a.b_c", "_x/y"])
def test_repository_ids(name):
    assert is_repo_id(name)


@pytest.mark.parametrize(
    "name", ["digits", "/data/me", "./me/x", "a/b/c", "two words/x", "me/x\n", "me/..", "me/a--b", "me/x.git", ""]
)
def test_folders_and_descriptions_are_no_repository_ids(name):
    assert not is_repo_id(name)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("out/My_student", "My_student"),
        ("out/stüdent eins", "st-dent-eins"),
        ("学生", "unnamed"),
        ("a--b", "a-b"),
        ("x" * 200, "x" * 96),
    ],
)
def test_the_hub_takes_what_a_folder_is_called_there(folder, name):
    assert repo_name(Path(folder)) == name
    assert is_repo_id(f"owner/{name}")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/home/me/secret/flowers/", "flowers"),
        ("C:\\Users\\me\\flowers", "flowers"),
        ("./flowers", "flowers"),
        ("me/flowers", "me/flowers"),
        ("docstrings of scipy and/or numpy", "docstrings of scipy and/or numpy"),
    ],
)
def test_paths_of_the_author_are_not_shown(name, shown):
    assert short_name(name) == shown


def test_everything_on_the_hub_is_named(image_record):
    data = card_data(image_record, "student").to_dict()
    assert data["base_model"] == "org/tiny-resnet"
    assert data["base_model_relation"] == "finetune"
    assert data["datasets"] == ["me/digits"]
    assert data["library_name"] == "transformers"
    assert data["pipeline_tag"] == "image-classification"
    assert data["teachers"] == ["zoo/letters"]
    assert data["license"] == "cc-by-nc-4.0"
    assert {"hf_ctkd", "knowledge-distillation"} <= set(data["tags"])
    [metrics] = [result["metrics"] for result in data["model-index"][0]["results"]]
    assert metrics[0]["value"] == 0.915
    assert metrics[0]["args"] == {"confidence_level": 0.95, "low": 0.88, "high": 0.945}


def test_value_without_an_interval_has_no_arguments(image_record):
    plain = replace(image_record, results={"accuracy": Confidence(0.9)})
    [metrics] = [one["metrics"] for one in card_data(plain, "student").to_dict()["model-index"][0]["results"]]
    assert metrics[0]["value"] == 0.9 and "args" not in metrics[0]


def test_what_is_not_on_the_hub_is_not_named_as_if_it_were(text_record):
    data = card_data(text_record, "student").to_dict()
    assert not {"base_model", "datasets", "teachers", "license", "model-index", "metrics"} & set(data)


def test_licences_in_the_form_that_the_hub_takes(image_record):
    def licence(identifier):
        teacher = image_record.teachers[0]
        changed = replace(teacher, candidate=replace(teacher.candidate, license=identifier))
        data = card_data(replace(image_record, teachers=(changed,)), "student").to_dict()
        return data["license"], data.get("license_name")

    assert licence(None) == ("unknown", None)
    assert licence("not looked up") == ("unknown", None)
    assert licence("My Own: Licence\n") == ("other", "my-own-licence")
    assert licence("apache-2.0") == ("mit", None), "the first of equals: the base model's"


def test_the_base_model_binds_too(image_record):
    student = replace(image_record.student, license="cc-by-nd-4.0")
    assert binding_license(replace(image_record, student=student)).models == ("org/tiny-resnet",)


def test_one_file_a_metric_in_the_form_of_the_hub(pets_record, tmp_path):
    names = write_eval_results(tmp_path, pets_record)
    assert names == [".eval_results/hf_ctkd-accuracy.yaml", ".eval_results/hf_ctkd-f1.yaml"]
    [entry] = parse_eval_result_entries(yaml.safe_load((tmp_path / names[0]).read_text()))
    assert entry == EvalResultEntry(
        dataset_id="me/pets",
        task_id="default",
        value=0.9,
        notes="accuracy on 30 rows of the split test; 95 % interval 0.8000 to 0.9500",
    )


def test_eval_result_without_an_interval_claims_none(pets_record, tmp_path):
    [name] = write_eval_results(tmp_path, replace(pets_record, results={"accuracy": Confidence(0.9)}))
    [entry] = parse_eval_result_entries(yaml.safe_load((tmp_path / name).read_text()))
    assert (entry.value, entry.notes) == (0.9, "accuracy on 30 rows of the split test")


def test_nothing_for_data_that_are_not_on_the_hub(pets_record, tmp_path):
    assert write_eval_results(tmp_path, replace(pets_record, task=replace(pets_record.task, hub_dataset=None))) == []
    assert not (tmp_path / ".eval_results").exists()


def test_files_of_an_earlier_run_go_and_those_of_others_stay(pets_record, tmp_path):
    write_eval_results(tmp_path, pets_record)
    (tmp_path / ".eval_results" / "mine.yaml").write_text("[]")
    write_eval_results(tmp_path, replace(pets_record, results={"accuracy": pets_record.results["accuracy"]}))
    assert {path.name for path in (tmp_path / ".eval_results").iterdir()} == {"hf_ctkd-accuracy.yaml", "mine.yaml"}


@pytest.mark.parametrize("name", [None, "flowers", "data/flowers.csv\n", "a/b/c"])
def test_local_data_are_never_named_as_a_data_set_on_the_hub(image_record, tmp_path, name):
    local = replace(image_record, task=replace(image_record.task, dataset="data/flowers", hub_dataset=name))
    data = card_data(local, "student").to_dict()
    assert "datasets" not in data
    [result] = data["model-index"][0]["results"]
    assert result["dataset"] == {"name": "data/flowers", "type": "not-on-the-hub", "split": "test"}
    assert write_eval_results(tmp_path, local) == []
