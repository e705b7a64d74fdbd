"""A model of SetFit is a teacher by its body: its head is a pickle, which is never read."""

import pytest
from sentence_models import TEXTS, legacy, save_sentence_encoder

from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import Teacher


def test_the_head_is_not_opened(tmp_path):
    folder = save_sentence_encoder(tmp_path / "model", legacy("mean_tokens"), normalize=True)
    expected = Teacher.load(next(folder_teachers(folder)), "text")
    (folder / "model_head.pkl").write_bytes(b"no pickle")
    teacher = Teacher.load(next(folder_teachers(folder)), "text")
    assert teacher.label_space is None
    assert (
        teacher.outputs(teacher.collate(TEXTS)).features == expected.outputs(expected.collate(TEXTS)).features
    ).all()


@pytest.mark.filterwarnings("ignore")  # of the library about its own versions
def test_what_setfit_saves_is_read(tmp_path):
    setfit = pytest.importorskip("setfit")
    folder = save_sentence_encoder(tmp_path / "model", legacy("cls_token"))
    model = setfit.SetFitModel.from_pretrained(str(folder), device="cpu")
    model.model_head.fit(model.model_body.encode(TEXTS), [0, 1, 0, 1])
    model.save_pretrained(str(tmp_path / "saved"))
    teacher = Teacher.load(next(folder_teachers(tmp_path / "saved")), "text")
    features = teacher.outputs(teacher.collate(TEXTS)).features
    assert (features - model.model_body.encode(TEXTS, convert_to_tensor=True)).abs().max() < 1e-5
