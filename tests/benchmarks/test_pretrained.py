import importlib.util

from tiny_models import save, tiny_bert, word_tokenizer

from benchmarks.evidence.pretrained import NAME, PACKAGE, pretrained_zoo
from hf_ctkd.hub import folder_teachers


def test_encoder_of_an_installed_package_is_a_teacher_by_its_short_name(tmp_path, monkeypatch):
    package = tmp_path / PACKAGE
    save(package / "model", tiny_bert(), word_tokenizer())
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    for _ in range(2):  # the second time the link is there already
        (candidate,) = folder_teachers(pretrained_zoo(tmp_path / "zoo"))
        assert candidate.name == NAME and candidate.problem is None


def test_without_its_package_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert pretrained_zoo(tmp_path / "zoo") is None and not (tmp_path / "zoo").exists()
