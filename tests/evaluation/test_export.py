import sys
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from accelerate import Accelerator

from hf_ctkd.cli.main import main
from hf_ctkd.errors import InvalidArgumentError, MissingExtraError
from hf_ctkd.evaluation import export_onnx
from hf_ctkd.evaluation.export import _compare
from hf_ctkd.evaluation.models import TrainedModel
from hf_ctkd.teachers import LoadOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # of onnx and torch about each other


@pytest.fixture
def students(tmp_path):
    folders = {}
    for modality, model, processor in (
        ("image", tiny.image_student(), tiny.processor()),
        ("text", tiny.text_model(), tiny.tokenizer()),
    ):
        model.save_pretrained(tmp_path / modality)
        processor.save_pretrained(tmp_path / modality)
        folders[modality] = tmp_path / modality
    return folders


@pytest.mark.slow
@pytest.mark.parametrize("modality", ["image", "text"])
def test_the_file_gives_the_logits_of_the_student(students, tmp_path, modality):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    export = export_onnx(students[modality], tmp_path / "student.onnx")
    assert export.path.is_file() and export.difference < 1e-4 and export.milliseconds > 0
    session = onnxruntime.InferenceSession(str(export.path), providers=["CPUExecutionProvider"])
    if modality == "image":
        rows, model, processor = tiny.image_rows(5), tiny.image_student().eval(), tiny.processor()
        batch = dict(processor([image.convert("RGB") for image in rows["image"]], return_tensors="pt"))
    else:
        rows, model, processor = tiny.text_rows(5), tiny.text_model().eval(), tiny.tokenizer()
        batch = dict(processor(rows["text"][:], padding=True, return_tensors="pt"))
    batch = {name: tensor for name, tensor in batch.items() if name in export.inputs}
    (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in batch.items()})
    assert np.allclose(logits, model(**batch).logits.detach().numpy(), atol=1e-4)


def test_logits_that_are_not_finite_are_refused(students, tmp_path, monkeypatch):
    class Session:
        def __init__(self, *_, **__):
            pass

        def run(self, _, inputs):
            return (np.full((len(inputs["pixel_values"]), 3), np.nan, dtype=np.float32),)

    monkeypatch.setitem(sys.modules, "onnxruntime", SimpleNamespace(InferenceSession=Session))
    model = TrainedModel(
        students["image"], "image", "student", accelerator=Accelerator(cpu=True), options=LoadOptions()
    )
    with pytest.raises(InvalidArgumentError, match="gives other logits once exported: they differ by nan."):
        _compare(model, {"pixel_values": torch.zeros(2, 3, 8, 8)}, tmp_path / "student.onnx")


def test_what_is_missing_is_named(students, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_ctkd.evaluation.export._PACKAGES", ("torch", "no_such_package"))
    with pytest.raises(MissingExtraError, match="ONNX needs no_such_package. Install them with"):
        export_onnx(students["image"], tmp_path / "student.onnx")


def test_bad_input_is_one_line_and_nothing_is_written(students, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hf_ctkd.evaluation.export._PACKAGES", ())
    with pytest.raises(InvalidArgumentError, match="`output` 'student.pt' must end in .onnx."):
        export_onnx(students["image"], "student.pt")
    assert main(["export", "nowhere", "--output", "made/student.onnx"]) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("hf-ctkd export: error: `student` 'nowhere'") and not (tmp_path / "made").exists()
    (tmp_path / "there.onnx").write_text("")
    assert main(["export", str(students["image"]), "--output", "there.onnx"]) == 1
    assert "`--output` there.onnx exists already" in capsys.readouterr().err
