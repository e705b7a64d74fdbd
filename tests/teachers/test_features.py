import doctest

import pytest
import torch
from tiny_models import TINY
from transformers import (
    BartConfig,
    BartForSequenceClassification,
    BeitConfig,
    BeitForImageClassification,
    BertConfig,
    BertModel,
    ConvNextConfig,
    ConvNextForImageClassification,
    DeiTConfig,
    DeiTForImageClassification,
    DeiTForImageClassificationWithTeacher,
    Dinov2Config,
    Dinov2ForImageClassification,
    Dinov2Model,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ElectraConfig,
    ElectraForSequenceClassification,
    EuroBertConfig,
    EuroBertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    MobileNetV2Config,
    MobileNetV2ForImageClassification,
    PPLCNetConfig,
    PPLCNetForImageClassification,
    ResNetConfig,
    ResNetForImageClassification,
    ResNetModel,
    RobertaConfig,
    RobertaForSequenceClassification,
    SwiftFormerConfig,
    SwiftFormerForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)
from waits import counted_waits

import hf_ctkd.teachers.features
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers import FeatureReader

VIT = {**TINY, "image_size": 16, "patch_size": 4}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1]}
CONVNEXT = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 2, "image_size": 16}
SWIN = {
    "image_size": 16, "patch_size": 2, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 2,
}  # fmt: skip
DISTIL = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 16}
IMAGE_CLASSIFIERS = [
    (ResNetForImageClassification, ResNetConfig(**RESNET, num_labels=3), 16),
    (ConvNextForImageClassification, ConvNextConfig(**CONVNEXT, num_labels=3), 16),
    (ViTForImageClassification, ViTConfig(**VIT, num_labels=3), 8),
    (DeiTForImageClassification, DeiTConfig(**VIT, num_labels=3), 8),
    (SwinForImageClassification, SwinConfig(**SWIN, num_labels=3), 16),
    (BeitForImageClassification, BeitConfig(**VIT, num_labels=3), 8),
    (MobileNetV2ForImageClassification, MobileNetV2Config(depth_multiplier=0.25, num_labels=3), 1280),
    (Dinov2ForImageClassification, Dinov2Config(**VIT, num_labels=3), 16),
]
TEXT_CLASSIFIERS = [
    (RobertaForSequenceClassification, RobertaConfig(**TINY, vocab_size=20, num_labels=3)),
    (DistilBertForSequenceClassification, DistilBertConfig(**DISTIL, vocab_size=20, num_labels=3)),
    (ElectraForSequenceClassification, ElectraConfig(**TINY, embedding_size=8, vocab_size=20, num_labels=3)),
    (
        GPT2ForSequenceClassification,
        GPT2Config(
            n_embd=8, n_layer=1, n_head=2, vocab_size=20, pad_token_id=0, num_labels=3, bos_token_id=1, eos_token_id=1
        ),
    ),
]


def pixels(count=4, height=16, width=16):
    return {"pixel_values": torch.randn(count, 3, height, width)}


def tokens():
    ids = torch.randint(5, 20, (4, 7))
    mask = torch.ones_like(ids)
    ids[1, 4:] = mask[1, 4:] = 0
    ids[3, 1:] = mask[3, 1:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def test_example():
    assert doctest.testmod(hf_ctkd.teachers.features).failed == 0


@pytest.mark.parametrize(
    ("family", "config", "width"), IMAGE_CLASSIFIERS, ids=lambda value: getattr(value, "__name__", "")
)
def test_head_of_an_image_classifier_is_found_and_reproduces_the_logits(family, config, width):
    reader = FeatureReader(family(config).eval())
    assert reader.head is None
    batch = pixels()
    for _ in range(2):  # searched for, then known
        outputs = reader.read(batch)
        assert outputs.features.shape == (4, width)
        torch.testing.assert_close(reader.head(outputs.features), outputs.logits)
        torch.testing.assert_close(outputs.logits, reader.model(**batch).logits)


@pytest.mark.parametrize(("family", "config"), TEXT_CLASSIFIERS, ids=lambda value: getattr(value, "__name__", ""))
def test_head_of_a_text_classifier_is_found_under_padding(family, config):
    reader = FeatureReader(family(config).eval())
    batch = tokens()
    for _ in range(2):
        outputs = reader.read(batch)
        assert outputs.features.shape == (4, 8)
        torch.testing.assert_close(reader.head(outputs.features), outputs.logits)
        torch.testing.assert_close(outputs.logits, reader.model(**batch).logits)


def test_a_decoder_is_read_at_the_last_token_that_is_no_padding():
    family, config = TEXT_CLASSIFIERS[-1]
    reader = FeatureReader(family(config).eval())
    batch = tokens()
    padded = reader.read(batch).features[1]
    alone = reader.read({name: tensor[1:2, :4] for name, tensor in batch.items()}).features[0]
    torch.testing.assert_close(padded, alone)


def test_the_head_classifies_any_features():
    reader = FeatureReader(ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3)).eval().bfloat16())
    with pytest.raises(InvalidArgumentError, match="`model` ResNetForImageClassification has no linear head, or was"):
        reader.classify(torch.ones(5, 16))
    outputs = reader.read({"pixel_values": pixels()["pixel_values"].bfloat16()})
    torch.testing.assert_close(reader.classify(outputs.features.float()), outputs.logits)
    assert reader.classify(torch.ones(5, 16)).shape == (5, 3)


def test_two_heads_that_are_averaged_are_read_side_by_side():
    model = DeiTForImageClassificationWithTeacher(DeiTConfig(**VIT, num_labels=3)).eval()
    reader = FeatureReader(model)
    batch = pixels()
    tokens_of_heads = model.deit(**batch).last_hidden_state[:, :2]
    for _ in range(2):
        outputs = reader.read(batch)
        torch.testing.assert_close(outputs.features, tokens_of_heads.flatten(1))
        torch.testing.assert_close(reader.classify(outputs.features), outputs.logits)


def test_two_heads_of_the_same_input_are_read_once():
    config = SwiftFormerConfig(embed_dims=[8, 8, 8, 16], depths=[1, 1, 1, 1], num_labels=3)
    reader = FeatureReader(SwiftFormerForImageClassification(config).eval())
    outputs = reader.read(pixels(height=32, width=32))
    assert outputs.features.shape == (4, 16)
    torch.testing.assert_close(reader.classify(outputs.features), outputs.logits)


def averaging_model():
    """Scores every position; the logits are their mean."""
    settings = {"vocab_size": 20, "num_labels": 3, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = EuroBertConfig(**TINY, **settings, classifier_pooling="late", num_key_value_heads=2)
    return EuroBertForSequenceClassification(config)


def test_scores_that_are_averaged_over_a_text_have_the_mean_input_as_features():
    reader = FeatureReader(averaging_model().eval())
    batch = tokens()
    for _ in range(2):
        outputs = reader.read(batch)
        assert outputs.features.shape == (4, 8)
        torch.testing.assert_close(reader.classify(outputs.features), outputs.logits)


def test_logits_of_another_name_are_logits_only_where_a_head_gives_them():
    blocks = [[[3, 8, 8, 1, False]]] * 5
    config = PPLCNetConfig(scale=1, block_configs=blocks, stem_channels=8, class_expand=16, num_labels=3)
    outputs = FeatureReader(PPLCNetForImageClassification(config).eval()).read(pixels(height=32, width=32))
    assert outputs.features.shape == (4, 16) and outputs.logits.shape == (4, 3)


def test_layers_of_an_encoder_decoder_are_those_of_both():
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 32}
    config = BartConfig(vocab_size=20, d_model=8, num_labels=3, **layers, **heads)
    model = BartForSequenceClassification(config).eval()
    reader, batch = FeatureReader(model), tokens()
    batch["input_ids"][:, 0] = config.eos_token_id
    expected = model(**batch, output_hidden_states=True)
    outputs = reader.read(batch, [2, -1], layers=True, max_layers=6)
    assert reader.count_states(batch) == len(outputs.layers) == 6
    torch.testing.assert_close(outputs.hidden[0].values, expected.encoder_hidden_states[-1])
    torch.testing.assert_close(outputs.hidden[1].values, expected.decoder_hidden_states[-1])


def test_headless_image_models_give_their_pooler_or_the_mean_when_it_came_untrained():
    for model in (ViTModel(ViTConfig(**VIT)), ResNetModel(ResNetConfig(**RESNET)), Dinov2Model(Dinov2Config(**VIT))):
        batch = pixels()
        outputs = FeatureReader(model.eval()).read(batch)
        assert outputs.logits is None
        torch.testing.assert_close(outputs.features, model(**batch).pooler_output.flatten(1))
    model = ViTModel(ViTConfig(**VIT)).eval()
    outputs = FeatureReader(model, trust_pooler=False).read(batch)
    torch.testing.assert_close(outputs.features, model(**batch).last_hidden_state.mean(1))


def test_headless_text_model_gives_the_mean_over_its_tokens_without_padding():
    model = BertModel(BertConfig(**TINY, vocab_size=20)).eval()
    batch = tokens()
    features = FeatureReader(model).read(batch).features
    last = model(**batch).last_hidden_state
    torch.testing.assert_close(features[1], last[1, :4].mean(0))
    torch.testing.assert_close(features[3], last[3, 0])


def test_inputs_that_the_model_does_not_take_are_left_out():
    family, config = TEXT_CLASSIFIERS[1]
    reader = FeatureReader(family(config).eval())
    batch = tokens()
    torch.testing.assert_close(
        reader.read({**batch, "token_type_ids": torch.ones_like(batch["input_ids"])}).logits, reader.read(batch).logits
    )


def test_gradient_reaches_the_model():
    reader = FeatureReader(ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3)).train())
    outputs = reader.read(pixels())
    outputs.features.sum().backward()
    assert reader.model.resnet.embedder.embedder.convolution.weight.grad.abs().sum() > 0


def test_reading_leaves_no_hook_behind_even_after_an_error():
    model = ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3)).eval()
    reader = FeatureReader(model)
    with pytest.raises(ValueError, match="channel"):
        reader.read({"pixel_values": torch.zeros(1, 1, 16, 16)})
    reader.read(pixels())
    assert all(not module._forward_hooks for module in model.modules())


def test_only_layers_as_wide_as_the_logits_are_watched():
    reader = FeatureReader(ViTForImageClassification(ViTConfig(**VIT, num_labels=3)))
    assert reader._watched() == [reader.model.classifier]


@pytest.mark.parametrize(
    ("model", "batch", "first", "last"),
    [
        (ResNetModel(ResNetConfig(**RESNET)), pixels(), (4, 4), (2, 2)),
        (ViTModel(ViTConfig(**VIT)), pixels(), (4, 4), (4, 4)),
        (ViTModel(ViTConfig(**VIT | {"image_size": (16, 32)})), pixels(4, 16, 32), (4, 8), (4, 8)),
        (BertModel(BertConfig(**TINY, vocab_size=20)), tokens(), (7,), (7,)),
    ],
)
def test_chosen_layers_come_with_their_grid(model, batch, first, last):
    layers = FeatureReader(model.eval()).read(batch, [0, -1]).hidden
    assert [layer.grid for layer in layers] == [first, last]
    for layer in layers:
        assert layer.values.shape[1] == torch.Size(layer.grid).numel()
    states = model(**batch, output_hidden_states=True).hidden_states
    if states[-1].ndim == 3 and len(last) == 2:
        torch.testing.assert_close(layers[1].values, states[-1][:, 1:])
    assert (layers[0].mask is None) == (len(first) == 2)


def test_layers_are_whole_when_asked_for_so():
    model, batch = ViTModel(ViTConfig(**VIT)).eval(), pixels()
    layer = FeatureReader(model).read(batch, [1], whole=True).hidden[0]
    states = model(**batch, output_hidden_states=True).hidden_states
    assert layer.grid == (17,)
    torch.testing.assert_close(layer.values, states[1])
    grid = FeatureReader(ResNetModel(ResNetConfig(**RESNET)).eval()).read(pixels(), [1], whole=True).hidden[0].grid
    assert len(grid) == 2


def test_hidden_states_are_counted():
    reader = FeatureReader(ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3)).eval())
    assert reader.count_states(pixels()) == len(RESNET["depths"]) + 1


def test_a_layer_that_is_not_there_is_named():
    reader = FeatureReader(ResNetModel(ResNetConfig(**RESNET)).eval())
    with pytest.raises(InvalidArgumentError, match=r"`hidden` asks for layers \[7\], but the model returns 3 hidden"):
        reader.read(pixels(), [7])


@pytest.mark.parametrize("family", ["image", "decoder"])
def test_a_model_that_diverged_is_read_all_the_same(family):
    if family == "image":
        model = ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3)).eval()
        batch = {"pixel_values": torch.randn(2, 3, 16, 16)}
    else:
        config = GPT2Config(n_embd=8, n_layer=1, n_head=2, vocab_size=20, num_labels=3, pad_token_id=0)
        model, batch = GPT2ForSequenceClassification(config).eval(), {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]])}
    reader = FeatureReader(model)
    features = reader.read(batch).features
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    outputs = reader.read(batch)
    assert outputs.features.shape == features.shape and outputs.logits.isnan().all()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["head", "two heads", "position", "mean"])
def test_the_head_is_compared_with_the_logits_once_so_that_no_later_batch_waits(kind, training):
    if kind == "head":
        model, batch = ResNetForImageClassification(ResNetConfig(**RESNET, num_labels=3)), pixels()
    elif kind == "two heads":
        model, batch = DeiTForImageClassificationWithTeacher(DeiTConfig(**VIT, num_labels=3)), pixels()
    elif kind == "position":
        model, batch = GPT2ForSequenceClassification(TEXT_CLASSIFIERS[-1][1]), tokens()
    else:
        model, batch = averaging_model(), tokens()
    reader = FeatureReader(model.train(training))
    with counted_waits() as of_model:
        model(**batch, return_dict=True)
    waits = []
    for _ in range(2):
        with counted_waits() as names:
            outputs = reader.read(batch)
        waits.append(names - of_model)
        torch.testing.assert_close(reader.classify(outputs.features), outputs.logits)
    assert waits[0] and not waits[1]


def test_texts_of_one_token_do_not_decide_how_longer_ones_are_read():
    reader = FeatureReader(averaging_model().eval())
    single = {name: values[:, :1] for name, values in tokens().items()}
    for batch in (single, tokens()):
        outputs = reader.read(batch)
        torch.testing.assert_close(reader.classify(outputs.features), outputs.logits)
