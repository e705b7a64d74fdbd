import numpy as np
import pytest
from tiny_suite import build

from benchmarks.evidence.packages import setfit
from hf_ctkd.demo.students import build_student


@pytest.mark.filterwarnings("ignore:.*pin_memory")
def test_setfit_predicts_classes_of_all_rows(tmp_path):
    pytest.importorskip("setfit")
    pytest.importorskip("sentence_transformers")
    task = build(labels=8, seed=0)
    model, tokenizer = build_student(task, seed=0)
    for part in (model.base_model, tokenizer):
        part.save_pretrained(tmp_path)
    validation, test = setfit.predictions(tmp_path, task, steps=2, texts=4, length=16, seed=0)
    assert (len(validation), len(test)) == (len(task.validation), len(task.test))
    assert set(np.concatenate([validation, test])) <= {0, 1}


def test_a_machine_without_the_packages_is_told_how_to_get_them(monkeypatch):
    monkeypatch.setattr(setfit.importlib.util, "find_spec", lambda name: None)
    assert not setfit.available() and "setfit" in setfit.INSTALL
