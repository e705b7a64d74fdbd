from tiny_models import tiny_resnet

from hf_ctkd.demo.packages import installed_file, save_whole


def test_file_of_a_package_is_found_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / "carrier_of_weights").mkdir()
    (tmp_path / "carrier_of_weights" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    expected = tmp_path / "carrier_of_weights" / "models" / "w.bin"
    assert installed_file("carrier_of_weights", "models", "w.bin") == expected
    assert installed_file("no_such_carrier_of_weights", "w.bin") is None


def test_folder_that_is_there_already_stays(tmp_path):
    for seed in (0, 1):
        assert save_whole(tmp_path / "model", tiny_resnet(seed=seed)) == tmp_path / "model"
        weights = (tmp_path / "model" / "model.safetensors").read_bytes()
        first = weights if seed == 0 else first
    assert weights == first and [path.name for path in tmp_path.iterdir()] == ["model"]
