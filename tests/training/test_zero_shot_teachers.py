"""A zero-shot image classifier as a teacher, from the ranking to the card: its classes are those of the target."""

import pytest
import tiny
import torch
from datasets import ClassLabel
from tokenizers.processors import TemplateProcessing
from transformers import CLIPConfig, CLIPModel

from hf_ctkd import LabelTransportLoss, TeacherSelector, soft_targets
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import KLLoss

SIZES = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
IDS = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers") / "clip"
    torch.manual_seed(0)
    text = {**SIZES, **IDS, "vocab_size": 17, "max_position_embeddings": 16}
    config = CLIPConfig(vision_config={**SIZES, "image_size": 16, "patch_size": 8}, text_config=text, projection_dim=4)
    CLIPModel(config).save_pretrained(folder)
    tiny.processor(16).save_pretrained(folder)
    tokenizer = tiny.tokenizer(["a", "photo", "of", *tiny.NAMES])
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])
    tokenizer.save_pretrained(folder)
    return folder


def test_it_is_ranked_with_the_scores_of_class_predictions(clip, tmp_path):
    selector = TeacherSelector("leep", cache_dir=tmp_path, progress=False)
    (teacher,) = selector.rank(folder_teachers(clip), tiny.image_rows()).scored
    assert {"leep", "transport_empirical", "information_gain"} <= set(teacher.scores)
    renamed = tiny.image_rows().cast_column("label", ClassLabel(names=["striped", "bright", "dark"]))
    (other,) = selector.rank(folder_teachers(clip), renamed).scored
    assert other.scores["transport_empirical"] != pytest.approx(teacher.scores["transport_empirical"])


@pytest.mark.parametrize("loss", [None, KLLoss(), LabelTransportLoss()], ids=["default", "kl", "label_transport"])
def test_it_teaches_and_the_card_tells_its_classes(clip, make, tmp_path, loss):
    trainer = make(teachers=[str(clip)], loss=loss)
    trainer.train()
    trainer.create_model_card()
    card = (tmp_path / "student" / "README.md").read_text()
    assert "| clip |" in card and "those of the target, by their names: 3: dark, bright, striped" in card


def test_it_gives_soft_targets(clip, tmp_path):
    rows = soft_targets(tiny.image_rows(), [str(clip)], cache_dir=tmp_path, progress=False)
    assert len(rows["soft_targets"][0]) == 3
