import pytest
import tiny
from pools import POOLS

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import StudentPool
from hf_ctkd.generic.processor_check import check_processor

IMAGES, TEXTS = TargetRows.of(tiny.image_rows()), TargetRows.of(tiny.text_rows())
TOKENS = len(tiny.tokenizer())


ENCODER = {"depths": ((1,), (1,)), "heads": (1,), "feed_forward": (8,), "head_width": 4}


def vit(size):
    return StudentPool("vit", **ENCODER, input_size=size, settings={"patch_size": 4})


def bert(tokens):
    return StudentPool("bert", **ENCODER, input_size=34, settings={"vocab_size": tokens})


def test_images_must_have_the_size_that_a_vit_has():
    check_processor(vit(16), tiny.processor(16), IMAGES)
    with pytest.raises(InvalidArgumentError, match="`input_size` of the pool must be .* 8 x 8, got 16. Declare it so"):
        check_processor(vit(16), tiny.processor(8), IMAGES)


@pytest.mark.parametrize("name", ["resnet", "convnext"])
def test_convolutions_read_images_of_any_size(name):
    pool = POOLS[name]
    check_processor(pool, tiny.processor(24), IMAGES)
    view = tiny.processor(24)(images=[image.convert("RGB") for image in IMAGES.inputs([0])], return_tensors="pt")
    assert pool.largest.build(IMAGES.label_space).eval()(**view).logits.shape == (1, 3)


def test_students_must_know_every_token():
    check_processor(bert(TOKENS), tiny.tokenizer(), TEXTS)
    said = f"`vocab_size` of the pool must be at least {TOKENS} for the tokenizer, got {TOKENS - 1}. Declare it in"
    with pytest.raises(InvalidArgumentError, match=said):
        check_processor(bert(TOKENS - 1), tiny.tokenizer(), TEXTS)
