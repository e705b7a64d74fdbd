import doctest
import json
from dataclasses import replace

import pytest

from hf_ctkd.cards import publishable as files
from hf_ctkd.cards import publishable_files, write_card
from hf_ctkd.cards.publishable import check_folder
from hf_ctkd.errors import PublishingError


def test_examples():
    result = doctest.testmod(files)
    assert result.attempted > 0
    assert result.failed == 0


def test_only_what_belongs_to_the_student_is_published(folder):
    assert publishable_files(folder) == [
        "config.json",
        "distillation.json",
        "model.safetensors",
        "preprocessor_config.json",
        "ranking.json",
    ]
    write_card(folder)
    assert set(publishable_files(folder)) == {
        ".eval_results/hf_ctkd-accuracy.yaml",
        ".eval_results/hf_ctkd-f1.yaml",
        "README.md",
        "config.json",
        "distillation.json",
        "figures/leaderboard.png",
        "figures/results.png",
        "model.safetensors",
        "preprocessor_config.json",
        "ranking.json",
    }


def test_figures_that_the_card_does_not_show_stay_at_home(folder):
    write_card(folder)
    (folder / "figures" / "transport_map.png").write_bytes(b"of an earlier run")
    (folder / "figures" / "holiday.png").write_bytes(b"private")
    assert [name for name in publishable_files(folder) if name.startswith("figures/")] == [
        "figures/leaderboard.png",
        "figures/results.png",
    ]


def test_shards_tokenizers_and_licences_belong(tmp_path):
    belong = [
        "LICENSE",
        "chat_template.jinja",
        "merges.txt",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ]
    for name in belong:
        (tmp_path / name).write_text("")
    assert publishable_files(tmp_path) == belong


def test_no_folder_no_files(tmp_path):
    assert publishable_files(tmp_path / "none") == []


def refusal(folder, record) -> str:
    with pytest.raises(PublishingError) as error:
        check_folder(folder, record)
    return str(error.value)


def test_a_complete_folder_passes(folder, record):
    check_folder(folder, record)


def test_no_configuration(folder, record):
    (folder / "config.json").unlink()
    assert refusal(folder, record) == f"{folder} has no config.json. Save the student there with `save_pretrained`."
    (folder / "config.json").write_text("{")
    assert "config.json is not valid JSON" in refusal(folder, record)
    (folder / "config.json").write_text("[]")
    assert "config.json must hold a JSON object" in refusal(folder, record)


def test_no_weights_or_only_a_pickle(folder, record):
    (folder / "model.safetensors").unlink()
    assert "student has no model.safetensors. Save the student there with" in refusal(folder, record)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "has no model.safetensors, only pytorch_model.bin, a pickle that others" in refusal(folder, record)


def test_weights_that_are_cut_off(folder, record):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4])
    assert "model.safetensors is broken (" in refusal(folder, record)
    assert "Save the student again." in refusal(folder, record)


def test_a_shard_is_missing(folder, record):
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    (folder / "model.safetensors").rename(folder / first)
    index = {"weight_map": {"weight": first, "bias": second}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert f"lacks {second}, which model.safetensors.index.json names" in refusal(folder, record)
    (folder / second).write_bytes((folder / first).read_bytes())
    check_folder(folder, record)


def test_no_processor_or_tokenizer(folder, record):
    (folder / "preprocessor_config.json").unlink()
    assert "has no image processor (preprocessor_config.json)." in refusal(folder, record)
    text = replace(record, task=replace(record.task, task="text-classification"))
    assert "has no tokenizer (tokenizer.json)." in refusal(folder, text)
    other = replace(record, task=replace(record.task, task="depth-estimation"))
    assert "has neither processor nor tokenizer." in refusal(folder, other)
    (folder / "tokenizer.json").write_text("{}")
    check_folder(folder, text)


def test_a_record_of_another_student(folder, record):
    other = replace(record, task=replace(record.task, label_names=("cat", "dog", "fox")))
    assert refusal(folder, other) == (
        f"The model in {folder} has 2 classes but distillation.json says 3. "
        "Put the student and its own record into one folder."
    )
