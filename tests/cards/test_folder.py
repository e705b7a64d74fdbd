import doctest
import json
import sys
from dataclasses import replace

import pytest
import tiny
from transformers import ResNetForImageClassification

from hf_ctkd.cards import check_folder, draw_card, publishable_files, read_records, render_card, write_card
from hf_ctkd.cards import folder as module
from hf_ctkd.cards.figures import FIGURES
from hf_ctkd.cards.signature import CardSignature
from hf_ctkd.errors import InvalidArgumentError, PublishingError


def test_records_come_back_from_a_folder(image_record, ranking, tmp_path):
    image_record.save(tmp_path / "distillation.json")
    assert read_records(tmp_path) == (image_record, None)
    ranking.save(tmp_path / "ranking.json")
    assert read_records(tmp_path) == (image_record, ranking)


def test_a_folder_without_a_record(tmp_path):
    with pytest.raises(InvalidArgumentError, match=r"Cannot read .*distillation\.json"):
        read_records(tmp_path)


def test_every_figure_is_drawn_and_shown(image_record, ranking, tmp_path):
    card = draw_card(tmp_path, image_record, ranking, "me/x")
    assert all((tmp_path / name).exists() and f"({name})" in card for name in FIGURES)
    assert card == render_card(image_record, ranking, repo_id="me/x", figures=FIGURES)


def test_without_matplotlib_the_card_comes_without_figures_and_says_so(image_record, tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.font_manager"):
        monkeypatch.setitem(sys.modules, name, None)
    card = draw_card(tmp_path, image_record)
    assert "This card has no figures" in card
    assert "figures/" not in card
    assert not (tmp_path / "figures").exists()


def test_examples():
    result = doctest.testmod(module)
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


def refusal(folder, pets_record) -> str:
    with pytest.raises(PublishingError) as error:
        check_folder(folder, pets_record)
    return str(error.value)


def test_a_complete_folder_passes(folder, pets_record):
    check_folder(folder, pets_record)


def test_no_configuration(folder, pets_record):
    (folder / "config.json").unlink()
    assert (
        refusal(folder, pets_record) == f"{folder} has no config.json. Save the student there with `save_pretrained`."
    )
    (folder / "config.json").write_text("{")
    assert "config.json is not valid JSON" in refusal(folder, pets_record)
    (folder / "config.json").write_text("[]")
    assert "config.json must hold a JSON object" in refusal(folder, pets_record)


def test_no_weights_or_only_a_pickle(folder, pets_record):
    (folder / "model.safetensors").unlink()
    assert "student has no model.safetensors. Save the student there with" in refusal(folder, pets_record)
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert "has no model.safetensors, only pytorch_model.bin, a pickle that others" in refusal(folder, pets_record)


def test_weights_that_are_cut_off(folder, pets_record):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[:-4])
    assert "model.safetensors is broken (" in refusal(folder, pets_record)
    assert "Save the student again." in refusal(folder, pets_record)


def test_a_shard_is_missing(folder, pets_record):
    student = ResNetForImageClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    student.save_pretrained(folder, max_shard_size="5KB")
    check_folder(folder, pets_record)
    last = max(folder.glob("model-*.safetensors"))
    last.unlink()
    assert f"lacks {last.name}, which model.safetensors.index.json names" in refusal(folder, pets_record)


def test_no_processor_or_tokenizer(folder, pets_record):
    (folder / "preprocessor_config.json").unlink()
    assert "has no image processor (preprocessor_config.json)." in refusal(folder, pets_record)
    text = replace(pets_record, task=replace(pets_record.task, modality="text"))
    assert "has no tokenizer (tokenizer.json)." in refusal(folder, text)
    other = replace(pets_record, task=replace(pets_record.task, modality=None))
    assert "has neither processor nor tokenizer." in refusal(folder, other)
    (folder / "tokenizer.json").write_text("{}")
    assert f"The tokenizer in {folder} cannot be loaded: " in refusal(folder, text)
    tiny.tokenizer().save_pretrained(folder)
    check_folder(folder, text)


def test_a_record_of_another_student(folder, pets_record):
    other = replace(pets_record, task=replace(pets_record.task, label_names=("cat", "dog", "fox")))
    assert refusal(folder, other) == (
        f"The model in {folder} has 2 classes but distillation.json lists 3. "
        "Put the student and its own record into one folder."
    )


def test_a_card_for_a_folder_needs_no_network_and_no_ranking(folder):
    (folder / "ranking.json").unlink()
    card = write_card(folder)
    assert card == folder / "README.md"
    assert CardSignature.read(card.read_text()) == CardSignature(None, untouched=True)
    assert "The teacher was chosen by hand." in card.read_text()


def test_a_card_that_somebody_else_wrote_is_not_overwritten(folder):
    (folder / "README.md").write_text("# My own words\n")
    with pytest.raises(PublishingError, match=r"was not written by hf_ctkd.*Move it, or pass `overwrite_card=True`"):
        write_card(folder)
    assert (folder / "README.md").read_text() == "# My own words\n"
    assert not (folder / "figures").exists()
    write_card(folder, overwrite_card=True)
    assert "My own words" not in (folder / "README.md").read_text()


def test_a_card_that_was_changed_by_hand_is_not_overwritten(folder):
    card = write_card(folder)
    write_card(folder)
    card.write_text(card.read_text() + "\nA remark of mine.\n")
    with pytest.raises(PublishingError, match="was changed by hand, and a new card would replace it"):
        write_card(folder)
    card.write_bytes(b"\xff\xfe not text")
    with pytest.raises(PublishingError, match="was not written by hf_ctkd"):
        write_card(folder)


def test_a_folder_that_cannot_be_written_leaves_the_old_card(folder):
    card = write_card(folder)
    old = card.read_text()
    record = json.loads((folder / "distillation.json").read_text())
    record["training"] = {"seed": 1}
    (folder / "distillation.json").write_text(json.dumps(record))
    results = folder / "figures" / "results.png"
    results.unlink()
    results.mkdir()
    with pytest.raises(InvalidArgumentError, match="Cannot write .*results.png"):
        write_card(folder)
    assert card.read_text() == old


def test_records_that_the_caller_has_are_not_read_again(folder, pets_record, pets_ranking):
    from_files = write_card(folder).read_text()
    (folder / "distillation.json").write_text("only the caller's record is read")
    (folder / "ranking.json").write_text("only the caller's ranking is read")
    assert write_card(folder, record=pets_record, ranking=pets_ranking).read_text() == from_files
    assert "The teacher was chosen by hand." in write_card(folder, record=pets_record).read_text()
