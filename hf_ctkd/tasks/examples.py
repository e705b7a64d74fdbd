"""Lines of code for a student's card that open it with plain transformers and show it one row.

`{model}` is replaced by the student's id on the Hub, or by its folder, when the card is rendered.
"""

from hf_ctkd.data import Modality

_IMAGE = """
import torch
from PIL import Image
from transformers import AutoImageProcessor, {auto_class}

processor = AutoImageProcessor.from_pretrained({model})
model = {auto_class}.from_pretrained({model})

image = Image.open("picture.png").convert("RGB")
with torch.no_grad():
    outputs = model(**processor(image, return_tensors="pt"))
{lines}
"""

_TEXT = """
import torch
from transformers import {auto_class}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({model})
model = {auto_class}.from_pretrained({model})

inputs = tokenizer({text}, truncation=True, return_tensors="pt")
with torch.no_grad():
    outputs = model(**inputs)
{lines}
"""

_PACKAGES: dict[Modality, str] = {"image": "transformers torch pillow", "text": "transformers torch"}


_ONE_TEXT, _TWO_TEXTS = '"A text."', '"A text.", "Another text."'


def example_code(modality: Modality, auto_class: str, lines: str) -> str:
    """The code of a card.

    Args:
        modality: of what the student is shown.
        auto_class: name of the class of transformers that loads it.
        lines: what is done with its `outputs`.
    """
    template = _IMAGE if modality == "image" else _TEXT
    return template.replace("{text}", _ONE_TEXT).replace("{auto_class}", auto_class).replace("{lines}", lines)


def example_of_pair(code: str) -> str:
    """The same code for a student that reads pairs of texts.

    Args:
        code: from `example_code`; other code is returned unchanged.
    """
    return code.replace(f"tokenizer({_ONE_TEXT},", f"tokenizer({_TWO_TEXTS},")


def example_packages(modality: Modality) -> str:
    """What has to be installed to run that code.

    Args:
        modality: of what the student is shown.
    """
    return _PACKAGES[modality]
