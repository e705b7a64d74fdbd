"""Lines of code for a student's card that open it with plain transformers and show it one row.

`{model}` is replaced by the student's id on the Hub, or by its folder, when the card is rendered.
"""

import re
from dataclasses import replace

from hf_ctkd.data import Modality
from hf_ctkd.records import TaskWords

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

_OPENED = re.compile(r"model = (AutoModel\w+)\.from_pretrained\(\{model\}\)")
_WITH_ADAPTER = r"""config = AutoConfig.from_pretrained({model})
base = PeftConfig.from_pretrained({model}).base_model_name_or_path
model = \1.from_pretrained(base, config=config, ignore_mismatched_sizes=True)
model = PeftModel.from_pretrained(model, {model}).eval()"""
_IMPORTS = "from peft import PeftConfig, PeftModel\nfrom transformers import AutoConfig, Auto"

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


def timm_words(words: TaskWords) -> TaskWords:
    """The words of a task for a student of timm, which plain transformers opens where timm is installed.

    Args:
        words: of the task.
    """
    return replace(words, packages=f"{words.packages} timm torchvision")


def adapter_words(words: TaskWords) -> TaskWords:
    """The words of a task for a student that is saved as an adapter: it opens with peft, and its own configuration.

    Without that configuration transformers would take the base model's, with other classes.

    Args:
        words: of the task.
    """
    opened = _OPENED.sub(_WITH_ADAPTER, words.example)
    example = opened.replace("from transformers import Auto", _IMPORTS, 1)
    return replace(words, example=example, packages=f"{words.packages} peft")
