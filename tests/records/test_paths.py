import doctest

from hf_ctkd.records import paths, without_folder


def test_examples_in_docstrings():
    assert doctest.testmod(paths).failed == 0


def test_a_folder_is_found_under_either_of_its_names(tmp_path, monkeypatch):
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to(real)
    monkeypatch.chdir(tmp_path)
    said = f"neither {tmp_path / 'link'}/a nor {real}/a"
    assert without_folder(said, tmp_path / "link", "org/x") == "neither org/x/a nor org/x/a"
