import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.teachers import Teacher


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:99", r"`device` is 'cuda:99', but torch sees \d+ CUDA devices here. Choose one of them, or 'cpu'."),
        ("gpu", "`device` must be such as 'cpu' or 'cuda:0', got 'gpu'. Choose one."),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_anything_is_read(resnet, device, message):
    with pytest.raises(InvalidArgumentError, match=message):
        Teacher.load(resnet, "image", device=device)


def test_one_that_is_there(resnet):
    assert Teacher.load(resnet, "image", device=torch.device("cpu")).device.type == "cpu"
