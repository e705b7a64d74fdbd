import numpy as np
import pytest
import torch
from PIL import Image as PILImage
from transformers import ViTImageProcessorPil
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil
from transformers.models.glpn.image_processing_pil_glpn import GLPNImageProcessorPil
from transformers.models.mobilenet_v2.image_processing_pil_mobilenet_v2 import MobileNetV2ImageProcessorPil
from transformers.models.mobilevit.image_processing_pil_mobilevit import MobileViTImageProcessorPil
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from hf_ctkd.data import Preprocessor
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.tasks.pixels import OUTSIDE, onto_view, source_pixels

HEIGHT, WIDTH = 48, 64
PROCESSORS = {
    "stretched": SegformerImageProcessorPil(size={"height": 32, "width": 32}),
    "enlarged": ViTImageProcessorPil(size={"height": 96, "width": 96}),
    "multiples": GLPNImageProcessorPil(),
    "cropped": MobileViTImageProcessorPil(size={"shortest_edge": 40}, crop_size={"height": 32, "width": 32}),
    "crop larger than the image": MobileNetV2ImageProcessorPil(
        size={"shortest_edge": 40}, crop_size={"height": 48, "width": 48}
    ),
    "padded": DPTImageProcessorPil(
        size={"height": 32, "width": 32}, keep_aspect_ratio=True, ensure_multiple_of=8, do_pad=True, size_divisor=20
    ),
}


def _square() -> tuple[PILImage.Image, np.ndarray]:
    mask = np.zeros((HEIGHT, WIDTH), np.int64)
    mask[20:36, 24:48] = 7
    return PILImage.fromarray(np.where(mask[..., None] > 0, 255, 40).repeat(3, -1).astype(np.uint8)), mask


@pytest.mark.parametrize("name", PROCESSORS)
@pytest.mark.parametrize("channels", [3, 1], ids=["colour", "grey"])
def test_a_label_goes_where_its_image_goes(name, channels):
    if channels == 1 and name != "stretched":
        pytest.skip("one processor will do")
    view = Preprocessor(PROCESSORS[name], "image", channels=channels)
    image, mask = _square()
    settings = {"do_normalize": False, "do_rescale": False, "return_tensors": "pt"}
    seen = view.processing_class(images=[image], **settings)["pixel_values"][0, 0].float()
    label = onto_view(mask, source_pixels(view, HEIGHT, WIDTH), -100)
    assert label.shape == seen.shape
    assert set(label.unique().tolist()) <= {-100, 0, 7}
    # Away from the edge, which the image blurs, bright pixels are those of the square and black ones come from outside.
    assert (label[seen > 245] == 7).all() and (label[(seen > 35) & (seen < 45)] == 0).all()
    assert (label[seen < 5] == -100).all()
    assert ((label == 7).float().mean() - (seen > 147).float().mean()).abs() < 0.02


def test_padding_comes_from_outside():
    source = source_pixels(Preprocessor(PROCESSORS["padded"], "image"), HEIGHT, WIDTH)
    assert (source == OUTSIDE).any() and source.max() < HEIGHT * WIDTH


def test_depths_are_moved_not_mixed():
    depth = np.random.default_rng(0).uniform(1, 9, (HEIGHT, WIDTH)).astype(np.float32)
    moved = onto_view(depth, source_pixels(Preprocessor(PROCESSORS["stretched"], "image"), HEIGHT, WIDTH), 0.0)
    assert moved.dtype == torch.float32 and np.isin(moved.numpy(), depth).all()


class _Brighter(ViTImageProcessorPil):
    def __call__(self, *args, **kwargs):
        made = super().__call__(*args, **kwargs)
        made["pixel_values"] = made["pixel_values"].float() * 2
        return made


def test_processor_that_changes_values_is_refused():
    with pytest.raises(InvalidArgumentError, match="`processing_class` _Brighter changes values"):
        source_pixels(Preprocessor(_Brighter(size={"height": 8, "width": 8}), "image"), 8, 8)
