"""Students of which a LoRA adapter is trained: they train, resume, keep the best, and are published either way."""

import json

import peft
import pytest
import tiny
import torch
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification, AutoTokenizer

from hf_ctkd.cards import publish, render_card
from hf_ctkd.cards.folder import check_folder
from hf_ctkd.errors import InvalidArgumentError, PublishingError
from hf_ctkd.losses import InvertedProjectionLoss
from hf_ctkd.training.adapter import StudentAdapter


@pytest.fixture
def base(tmp_path):
    """A checkpoint with two classes of its own, of which the student makes two others."""
    tiny.text_model(5).save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def student(base):
    def make(seed=0, **settings):
        torch.manual_seed(seed)
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, ignore_mismatched_sizes=True)
        config = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"], **settings)
        return peft.get_peft_model(model, config)

    return make


@pytest.fixture
def texts(make, config, text_teacher, student):
    def trainer(args=None, **changes):
        rows = {"train_dataset": tiny.text_rows(), "eval_dataset": tiny.text_rows(9)}
        settings = {"model": student(), "processing_class": tiny.tokenizer(), "teachers": [text_teacher], **rows}
        return make(args or config(max_steps=6), **{"loss": InvertedProjectionLoss(), **settings, **changes})

    return trainer


def logits(model, folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(tiny.text_rows(9)["text"]), padding=True, return_tensors="pt")
    with torch.no_grad():
        return model.eval()(**batch).logits


def test_an_adapter_and_the_head_are_trained_and_saved_alone(texts, config, tmp_path, base):
    trainer = texts()
    before = {name: value.clone() for name, value in trainer.student.named_parameters()}
    trainer.train()
    moved = {name for name, value in trainer.student.named_parameters() if not torch.equal(value, before[name])}
    assert moved and all("lora_" in name or "modules_to_save" in name for name in moved)
    predicted = torch.tensor(trainer.predict(tiny.text_rows(9)).predictions)
    trainer.save_model()
    folder = tmp_path / "student"
    assert (folder / "adapter_model.safetensors").is_file() and not (folder / "model.safetensors").exists()
    assert not (folder / "README.md").exists(), "peft's draft of a card"
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, ignore_mismatched_sizes=True)
    torch.testing.assert_close(logits(peft.PeftModel.from_pretrained(model, folder), folder), predicted)


def test_the_code_of_the_card_opens_the_adapter(texts, tmp_path, monkeypatch, capsys):
    trainer = texts()
    trainer.train()
    trainer.save_model()
    record = trainer.record("run")
    assert record.training["adapter"] == "LORA" and record.task.words.packages.endswith(" peft")
    card = render_card(record)
    assert "library_name: peft" in card
    code = card.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path / "student")
    exec(code, {})  # noqa: S102
    assert capsys.readouterr().out.strip().splitlines()[-1] in {"fruit", "plant"}


def test_a_merged_student_opens_without_peft_and_takes_the_place_of_the_adapter(texts, config, tmp_path):
    texts().save_model()
    trainer = texts(config(max_steps=6, merge_adapter=True))
    trainer.train()
    predicted = torch.tensor(trainer.predict(tiny.text_rows(9)).predictions)
    trainer.save_model()
    folder = tmp_path / "student"
    assert not list(folder.glob("adapter_*"))
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(logits(model, folder), predicted)
    assert "adapter" not in trainer.record("run").training
    check_folder(folder, trainer.record("run"))


def test_resuming_goes_on_exactly_where_it_stopped(texts, config, student, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 3}
    whole = texts(config(max_steps=6, merge_adapter=True, **saving))
    whole.train()
    checkpoint = tmp_path / "student" / "checkpoint-3"
    assert (checkpoint / "adapter_model.safetensors").is_file() and not (checkpoint / "model.safetensors").exists()
    again = texts(config(max_steps=6), model=student(seed=5))
    again.train(resume_from_checkpoint=str(checkpoint))
    for (name, expected), value in zip(whole.student.named_parameters(), again.student.named_parameters(), strict=True):
        if expected.requires_grad:
            torch.testing.assert_close(value[1], expected, msg=name)


def test_the_best_adapter_is_restored(texts, config):
    settings = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    settings |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_loss", "learning_rate": 1.0}
    trainer = texts(config(max_steps=6, **settings))
    trainer.train()
    best = trainer.state.best_model_checkpoint
    restored = peft.load_peft_weights(best, device="cpu")
    present = peft.get_peft_model_state_dict(trainer.student_with_loss.adapter.peft_model)
    assert restored.keys() == present.keys()
    for name, value in restored.items():
        torch.testing.assert_close(present[name], value)


def test_checkpoints_of_the_other_form_are_refused(texts, config, base, tmp_path):
    saving = {"save_strategy": "steps", "save_steps": 2}
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=2, ignore_mismatched_sizes=True)
    texts(config(max_steps=2, output_dir=str(tmp_path / "adapted"), **saving)).train()
    texts(config(max_steps=2, output_dir=str(tmp_path / "plain"), **saving), model=plain).train()
    with pytest.raises(InvalidArgumentError, match="holds an adapter, but `model` has none"):
        texts(model=plain).train(resume_from_checkpoint=str(tmp_path / "adapted" / "checkpoint-2"))
    with pytest.raises(InvalidArgumentError, match="holds no adapter, but `model` has one"):
        texts().train(resume_from_checkpoint=str(tmp_path / "plain" / "checkpoint-2"))


def test_an_adapter_of_a_folder_is_not_published_and_one_of_the_hub_is(texts, tmp_path, hub):
    trainer = texts()
    trainer.train()
    trainer.save_model()
    folder = tmp_path / "student"
    with pytest.raises(PublishingError, match="no model of the Hub. Save .* with `merge_adapter=True`"):
        publish(folder, "me/student", token="hf_test")
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"base_model_name_or_path": "org/base"}))
    check_folder(folder, trainer.record("run"))


def test_batch_norms_beside_an_adapter_stay_as_they_are(make, config):
    def adapted():
        config = peft.LoraConfig(target_modules=["convolution"], r=2, modules_to_save=["classifier"])
        return peft.get_peft_model(tiny.image_student(), config)

    trainer = make(model=None, model_init=adapted, args=config(max_steps=3))
    trainer.train()
    name = "resnet.embedder.embedder.normalization.running_mean"
    assert torch.equal(trainer.student.state_dict()[name], tiny.image_student().state_dict()[name])


def test_a_head_that_stays_random_is_named(make, caplog):
    import logging

    logging.getLogger("transformers").propagate = True
    try:
        make(model=peft.get_peft_model(tiny.image_student(), peft.LoraConfig(target_modules=["convolution"])))
    finally:
        logging.getLogger("transformers").propagate = False
    assert 'Name it in `modules_to_save` of the adapter, such as ["classifier"]' in caplog.text


def test_adapters_that_are_not_in_the_layers_or_not_alone_are_refused(student, base):
    model = AutoModelForSequenceClassification.from_pretrained(base)
    prompt = peft.get_peft_model(model, peft.PromptTuningConfig(task_type="SEQ_CLS", num_virtual_tokens=2))
    with pytest.raises(InvalidArgumentError, match="kind PROMPT_TUNING, which changes the input and not the layers"):
        StudentAdapter.of(prompt)
    two = student()
    two.add_adapter("second", peft.LoraConfig(task_type="SEQ_CLS", target_modules=["query"]))
    with pytest.raises(InvalidArgumentError, match="one adapter, called 'default', got .'default', 'second'."):
        StudentAdapter.of(two)
    assert StudentAdapter.of(tiny.image_student()) is None


def test_a_plain_student_is_not_changed(make, tmp_path):
    trainer = make()
    trainer.save_model()
    AutoModelForImageClassification.from_pretrained(tmp_path / "student")
    assert trainer.student_with_loss.adapter is None
