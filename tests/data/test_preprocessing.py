import pytest
import torch
from PIL import Image as PILImage
from tiny_models import image_processor, word_tokenizer
from tokenizers import processors
from transformers import BertConfig, GPT2Config, ResNetConfig, RobertaConfig, ViTConfig

from hf_ctkd.data import Preprocessor, load_processing_class
from hf_ctkd.data.notices import warn_once
from hf_ctkd.errors import InvalidArgumentError


def test_texts_are_padded_together_and_cut_to_what_the_model_takes():
    tokenizer = word_tokenizer()
    for config in (
        BertConfig(max_position_embeddings=8),
        RobertaConfig(max_position_embeddings=8),
        GPT2Config(n_positions=8, bos_token_id=1, eos_token_id=1),
    ):
        batch = Preprocessor.of(tokenizer, "text", config)(["red cat", "dog " * 50])
        assert batch["input_ids"].shape == (2, 6)
        assert batch["attention_mask"].sum(1).tolist() == [2, 6]


def test_the_tokenizers_own_length_counts_too():
    assert Preprocessor.of(word_tokenizer(model_max_length=5), "text", BertConfig()).max_length == 5
    assert Preprocessor.of(word_tokenizer(), "text", BertConfig()).max_length == 510


def test_length_of_texts_can_be_set_up_to_what_the_model_takes():
    tokenizer, config = word_tokenizer(model_max_length=1000), BertConfig(max_position_embeddings=600)
    assert Preprocessor.of(tokenizer, "text", config).max_length == 512
    assert Preprocessor.of(tokenizer, "text", config, max_length=7)(["dog " * 50])["input_ids"].shape == (1, 7)
    assert Preprocessor.of(tokenizer, "text", config, max_length=600).max_length == 600
    with pytest.raises(InvalidArgumentError, match="`max_length` must be at most 600, which the model .* got 601"):
        Preprocessor.of(tokenizer, "text", config, max_length=601)
    with pytest.raises(InvalidArgumentError, match="`max_length` must be at most 1000"):
        Preprocessor.of(tokenizer, "text", BertConfig(max_position_embeddings=2048), max_length=1024)
    with pytest.raises(InvalidArgumentError, match="`max_length` is for texts and a tokenizer, got 8 for image rows"):
        Preprocessor.of(image_processor(), "image", ViTConfig(), max_length=8)


def test_a_tokenizer_without_padding_pads_with_its_end_and_the_callers_stays_as_it_was():
    tokenizer = word_tokenizer(pad_token=None, eos_token="[SEP]")
    batch = Preprocessor.of(tokenizer, "text", GPT2Config(bos_token_id=1, eos_token_id=1))(["red cat", "dog"])
    assert batch["input_ids"].shape == (2, 2)
    assert batch["input_ids"][1, 1] == tokenizer.convert_tokens_to_ids("[SEP]")
    assert tokenizer.pad_token is None


def test_a_tokenizer_with_neither_padding_nor_end_is_refused():
    with pytest.raises(InvalidArgumentError, match="neither a padding nor an end token.*Set its `pad_token`"):
        Preprocessor.of(word_tokenizer(pad_token=None), "text", BertConfig())


def test_images_of_any_mode_become_what_the_model_takes():
    images = [PILImage.new(mode, (9, 7)) for mode in ("L", "RGB", "RGBA", "P", "CMYK", "1", "LA")]
    colour = Preprocessor.of(image_processor(), "image", ViTConfig())(images)
    assert colour["pixel_values"].shape == (7, 3, 16, 16)
    processor = image_processor()
    processor.image_mean, processor.image_std = [0.5], [0.5]
    grey = Preprocessor.of(processor, "image", ResNetConfig(num_channels=1))(images)
    assert grey["pixel_values"].shape == (7, 1, 16, 16)
    assert grey["pixel_values"].dtype == torch.float32


def pixels(*images: PILImage.Image) -> torch.Tensor:
    processor = image_processor(4)
    processor.image_mean, processor.image_std = [0.0] * 3, [1.0] * 3
    return Preprocessor.of(processor, "image", ViTConfig())(images)["pixel_values"]


def transparent(mode: str) -> PILImage.Image:
    """Black everywhere, and opaque in its left half alone."""
    image = PILImage.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        image = PILImage.new("P", (8, 8), 1)
        image.putpalette([0, 0, 0, 9, 9, 9])
        image.paste(0, (0, 0, 4, 8))
        image.info["transparency"] = 1
        return image
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_a_transparent_image_is_laid_on_white(mode):
    values = pixels(transparent(mode))[0]
    assert values[:, :, 0].eq(0).all() and values[:, :, 3].eq(1).all()


def test_transparency_is_said_once(caplog):
    warn_once.cache_clear()
    pixels(PILImage.new("RGBA", (8, 8), (9, 9, 9, 255)))
    assert not caplog.text
    pixels(transparent("RGBA"), transparent("LA"))
    pixels(transparent("LA"))
    assert caplog.text.count("Some images are transparent: they are laid on white.") == 1


def test_a_pair_of_texts_is_tokenised_as_the_models_were_trained():
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer = word_tokenizer(cls_token="[CLS]", sep_token="[SEP]", model_input_names=inputs)
    special = [(name, tokenizer.convert_tokens_to_ids(name)) for name in ("[CLS]", "[SEP]")]
    template = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", special)
    tokenizer.backend_tokenizer.post_processor = template
    preprocessor = Preprocessor.of(tokenizer, "text", BertConfig(), max_length=8)
    batch = preprocessor([("red cat", "dog"), ("dog", "cat " * 20)])
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0])[:6] == [
        "[CLS]",
        "red",
        "cat",
        "[SEP]",
        "dog",
        "[SEP]",
    ]
    assert batch["token_type_ids"][0].tolist()[:6] == [0, 0, 0, 0, 1, 1]
    assert tokenizer.decode(batch["input_ids"][1]) == "[CLS] dog [SEP] cat cat cat cat [SEP]"


@pytest.mark.parametrize("mode", ["I", "I;16", "F"])
def test_an_image_of_more_than_8_bits_is_refused(mode):
    with pytest.raises(InvalidArgumentError, match=f"8 bits a channel, got one of mode {mode!r}. Scale it to 8 bits"):
        Preprocessor.of(image_processor(), "image", ViTConfig())([PILImage.new(mode, (9, 7))])


def test_a_processing_class_for_the_other_modality_is_refused():
    with pytest.raises(InvalidArgumentError, match="`processing_class` must be an image processor for image rows, got"):
        Preprocessor.of(word_tokenizer(), "image", ViTConfig())
    with pytest.raises(InvalidArgumentError, match="`processing_class` must be a tokenizer for text rows, got ViT"):
        Preprocessor.of(image_processor(), "text", BertConfig())
    with pytest.raises(InvalidArgumentError, match="`processing_class` must be a tokenizer for text rows, got ViT"):
        Preprocessor(image_processor(), "text")(["red cat"])


def test_loaded_from_a_folder(tmp_path):
    word_tokenizer().save_pretrained(tmp_path)
    image_processor().save_pretrained(tmp_path)
    assert load_processing_class(tmp_path, "text")("red cat").input_ids == word_tokenizer()("red cat").input_ids
    assert load_processing_class(tmp_path, "image").size == {"height": 16, "width": 16}


def test_a_malformed_tokenizer_is_a_value_error_in_words(tmp_path):
    word_tokenizer().save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    file.write_text(file.read_text().replace("WordLevel", "Nonsense"))
    with pytest.raises(ValueError, match="tokenizer is malformed"):
        load_processing_class(tmp_path, "text")


def test_a_processor_that_wants_remote_code_never_asks_at_the_terminal(tmp_path, monkeypatch):
    (tmp_path / "preprocessor_config.json").write_text('{"auto_map": {"AutoImageProcessor": "evil.Evil"}}')
    (tmp_path / "evil.py").write_text("raise SystemExit('code ran')")
    monkeypatch.setattr("builtins.input", lambda prompt="": pytest.fail("asked"))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_processing_class(tmp_path, "image")


@pytest.mark.parametrize("length", [-1, 0, "512", float("nan"), None])
def test_a_tokenizer_whose_longest_text_is_no_length_is_refused(length):
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = length
    with pytest.raises(
        InvalidArgumentError, match=r"tokens at most \(`model_max_length`\), which is no length. Set it"
    ):
        Preprocessor.of(tokenizer, "text", BertConfig())


@pytest.mark.parametrize("length", [10**40, 1e30, float("inf")])
def test_a_tokenizer_without_a_limit_takes_what_its_model_takes(length):
    tokenizer = word_tokenizer()
    tokenizer.model_max_length = length
    assert Preprocessor.of(tokenizer, "text", BertConfig(max_position_embeddings=100)).max_length == 98


def test_special_tokens_in_a_text_are_text():
    tokenizer = word_tokenizer(eos_token="[SEP]")
    ids = Preprocessor.of(tokenizer, "text", BertConfig())(["red [SEP] cat"])["input_ids"][0].tolist()
    assert tokenizer.eos_token_id in tokenizer("red [SEP] cat")["input_ids"]
    assert tokenizer.eos_token_id not in ids and tokenizer.unk_token_id in ids
    assert not tokenizer.split_special_tokens
