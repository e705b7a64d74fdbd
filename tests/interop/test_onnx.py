"""An exported student answers as a pipeline on its folder does, exported here or by optimum."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import tiny
from transformers import AutoConfig, pipeline

import hf_ctkd
from hf_ctkd.evaluation import export_onnx

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.slow]  # of onnx and torch about each other
PAGE = Path(hf_ctkd.__file__).parents[1] / "docs" / "guides" / "production.md"


@pytest.fixture
def onnxruntime():
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


@pytest.fixture
def student(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def save(model, processor):
        for part in (model, processor):
            part.save_pretrained("image-student")

    return save


def _as_on_the_page(kind):
    """The answer of the page's example, with the student's kind of processor."""
    (example,) = [block for block in re.findall("```python\n(.*?)```", PAGE.read_text(), re.S) if "Session(" in block]
    if kind == "text":
        example = example.replace("AutoImageProcessor", "AutoTokenizer")
        example = example.replace('Image.open("picture.png").convert("RGB")', '["the red apple is very green"]')
    found = {}
    exec(example, found)
    return found["answer"]


@pytest.mark.parametrize("kind", ["image", "text"])
def test_the_example_of_the_page_answers_as_a_pipeline(onnxruntime, student, kind):
    if kind == "image":
        student(tiny.image_student(), tiny.processor())
        content = tiny.image_rows(1)["image"][0].convert("RGB")
        content.save("picture.png")
    else:
        student(tiny.text_model(), tiny.tokenizer())
        content = "the red apple is very green"
    export_onnx("image-student", "student.onnx")
    (expected,) = pipeline(f"{kind}-classification", "image-student", device="cpu", top_k=None)([content])
    assert _as_on_the_page(kind) == pytest.approx({each["label"]: each["score"] for each in expected}, abs=1e-4)


def test_optimum_exports_the_folder(onnxruntime, student):
    """In a Python of its own: optimum-onnx 0.1.0 needs transformers 4, as the page says."""
    python = os.environ.get("OPTIMUM_PYTHON")
    if python is None:
        pytest.skip("set OPTIMUM_PYTHON to a Python that has optimum-onnx")
    model, processor = tiny.image_student().eval(), tiny.processor()
    student(model, processor)
    task = ["--model", "image-student", "--task", "image-classification"]
    subprocess.run([python, "-m", "optimum.exporters.onnx", *task, "exported"], check=True)
    assert AutoConfig.from_pretrained("exported").id2label == model.config.id2label
    session = onnxruntime.InferenceSession("exported/model.onnx")
    batch = processor([image.convert("RGB") for image in tiny.image_rows(5)["image"]], return_tensors="pt")
    (logits,) = session.run(None, {"pixel_values": batch["pixel_values"].numpy()})
    expected = model(**batch).logits
    assert logits == pytest.approx(expected.detach().numpy(), abs=1e-4)
