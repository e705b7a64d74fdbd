"""The lines of code on a card that open the student with plain transformers."""

import json

_IMAGE = """
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification

processor = AutoImageProcessor.from_pretrained({model})
model = AutoModelForImageClassification.from_pretrained({model})

image = Image.open("picture.png").convert("RGB")
with torch.no_grad():
    logits = model(**processor(image, return_tensors="pt")).logits
print(model.config.id2label[int(logits.argmax())])
"""

_TEXT = """
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained({model})
model = AutoModelForSequenceClassification.from_pretrained({model})

inputs = tokenizer("The text to classify.", truncation=True, return_tensors="pt")
with torch.no_grad():
    logits = model(**inputs).logits
print(model.config.id2label[int(logits.argmax())])
"""

_DENSE = """
import torch
from PIL import Image
from transformers import AutoImageProcessor, {auto}

processor = AutoImageProcessor.from_pretrained({model})
model = {auto}.from_pretrained({model})

image = Image.open("picture.png").convert("RGB")
with torch.no_grad():
    outputs = model(**processor(image, return_tensors="pt"))
# On the pixels that the processor made of the picture, which may be fewer.
{say}
"""

_SEGMENTATION = _DENSE.replace("{auto}", "AutoModelForSemanticSegmentation").replace(
    "{say}",
    "classes = outputs.logits.argmax(1)[0]\n"
    "print({{model.config.id2label[int(number)]: int((classes == number).sum()) for number in classes.unique()}})",
)

_DEPTH = _DENSE.replace("{auto}", "AutoModelForDepthEstimation").replace(
    "{say}",
    "metres = outputs.predicted_depth[0]\nprint(metres.shape, float(metres.min()), float(metres.max()))",
)

_ANY = """
from transformers import pipeline

student = pipeline({task}, model={model})
"""

_SNIPPETS = {
    "image-classification": _IMAGE,
    "text-classification": _TEXT,
    "image-segmentation": _SEGMENTATION,
    "depth-estimation": _DEPTH,
}


def snippet(task: str, repo_id: str | None = None) -> str:
    """Python code that loads the student and shows it one row.

    Args:
        task: the Hub's task tag.
        repo_id: the student's repository; None for a folder that the reader stands in.
    """
    template = _SNIPPETS.get(task, _ANY)
    return template.format(task=json.dumps(task), model=json.dumps(repo_id or ".")).strip()
