import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DPTConfig,
    DPTForDepthEstimation,
    DPTForSemanticSegmentation,
    PreTrainedTokenizerFast,
    ResNetConfig,
    ResNetForImageClassification,
    ViTImageProcessor,
)

from hf_ctkd.cards import render_card
from hf_ctkd.cards.card import snippet
from hf_ctkd.records import TaskRecord
from hf_ctkd.tasks import DepthEstimation, SemanticSegmentation
from hf_ctkd.types import LabelSpace


@pytest.fixture
def image_student(tmp_path):
    config = ResNetConfig(
        embedding_size=4, hidden_sizes=[4, 8], depths=[1, 1], layer_type="basic", id2label={0: "cat", 1: "dog"}
    )
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(tmp_path)
    Image.fromarray(np.zeros((20, 30), dtype=np.uint8)).save(tmp_path / "picture.png")
    return tmp_path


@pytest.fixture
def text_student(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "text": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=16
    )
    fast.save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=3,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        intermediate_size=8,
        id2label={0: "cat", 1: "dog"},
    )
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    return tmp_path


def code_on(card: str) -> str:
    return re.search(r"```python\n(.*?)\n```", card, re.DOTALL)[1]


def test_the_code_on_an_image_card_runs_in_the_folder(image_student, image_record, monkeypatch, capsys):
    monkeypatch.chdir(image_student)
    exec(code_on(render_card(image_record)), {})
    assert capsys.readouterr().out.strip() in ("cat", "dog")


def test_the_code_on_a_text_card_runs_in_the_folder(text_student, text_record, monkeypatch, capsys):
    monkeypatch.chdir(text_student)
    exec(code_on(render_card(text_record)), {})
    assert capsys.readouterr().out.strip() in ("cat", "dog")


@pytest.mark.parametrize(
    ("task", "student", "printed"),
    [
        (SemanticSegmentation(LabelSpace(("cat", "dog"))), DPTForSemanticSegmentation, "{'"),
        (DepthEstimation(), DPTForDepthEstimation, "torch.Size(["),
    ],
)
def test_the_code_on_the_card_of_a_dense_student_runs(
    image_student, image_record, monkeypatch, capsys, task, student, printed
):
    config = DPTConfig(
        image_size=16, patch_size=4, hidden_size=8, num_hidden_layers=4, num_attention_heads=1, intermediate_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[4] * 4, fusion_hidden_size=4,
        id2label={0: "cat", 1: "dog"},
    )  # fmt: skip
    student(config).save_pretrained(image_student)
    monkeypatch.chdir(image_student)
    words = task.words("image")
    card = render_card(replace(image_record, task=replace(image_record.task, task=task.tag("image"), words=words)))
    assert "every pixel of an image" in card and "sorts" not in card and "torch pillow`" in card
    exec(code_on(card), {})
    assert capsys.readouterr().out.startswith(printed)


def test_without_an_example_of_the_task_a_pipeline_opens_the_student(image_student, monkeypatch):
    monkeypatch.chdir(image_student)
    code = snippet(TaskRecord("me/x", "1f", "image-classification", "image", "label", (), 1, 1))
    variables = {}
    exec(code, variables)
    assert variables["student"].model.config.id2label == {0: "cat", 1: "dog"}


def test_the_repository_is_named_when_there_is_one(image_record):
    assert code_on(render_card(image_record, repo_id="me/x")).count('from_pretrained("me/x")') == 2
