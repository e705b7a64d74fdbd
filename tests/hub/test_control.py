import pytest
import torch
from hub_server import model_files

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher, folder_teachers, random_like


def test_it_is_pinned_and_named_as_what_it_is(hub):
    sha = hub.add("org/birds", model_files(labels=["hawk", "owl"]))
    found = random_like("org/birds@main")
    assert (found.model_id, found.revision, found.random_weights) == ("org/birds", sha, True)
    assert found.name == "random weights like org/birds" and found.label_names == ("hawk", "owl")


def test_weights_are_neither_needed_nor_fetched(hub):
    files = model_files()
    del files["model.safetensors"]
    hub.add("org/bare", files)
    found = random_like("org/bare")
    assert found.problem is None
    names = {path.name for path in fetch_teacher(found).iterdir()}
    assert "config.json" in names and not any(name.endswith(".safetensors") for name in names)


def test_what_else_is_wrong_stays_wrong(hub):
    found = random_like("org/missing")
    assert found.random_weights and "private or missing" in found.problem


@pytest.fixture
def folder(tmp_path):
    for name, content in model_files().items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path


def test_folder_with_broken_weights_will_do(folder):
    whole = random_like(folder)
    assert whole.problem is None and whole.source == "folder" and fetch_teacher(whole) == folder
    (folder / "model.safetensors").write_bytes(b"cut short")
    assert next(folder_teachers(folder)).problem is not None
    assert random_like(folder).problem is None
    (folder / "model.safetensors").unlink()
    assert fetch_teacher(random_like(folder)) == folder
    with pytest.raises(TeacherUnavailableError, match="changed"):
        fetch_teacher(whole)


def test_broken_configuration_is_a_problem_of_a_control_too(folder):
    (folder / "config.json").write_text("{")
    assert "not valid JSON" in random_like(folder).problem


def test_bad_names_are_refused(tmp_path):
    with pytest.raises(InvalidArgumentError, match="`name` must be the folder of one model, but .* has no config.json"):
        random_like(tmp_path)
    with pytest.raises(InvalidArgumentError, match="A model id must look like"):
        random_like("org/a@")


def test_its_weights_follow_the_seed(tmp_path):
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessorPil

    from hf_ctkd.teachers import LoadOptions, Teacher

    torch.manual_seed(7)
    config = ResNetConfig(embedding_size=4, hidden_sizes=[4, 4], depths=[1, 1])
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessorPil(size={"height": 8, "width": 8}).save_pretrained(tmp_path)

    def weights(candidate, seed=0):
        model = Teacher.load(candidate, "image", options=LoadOptions(seed=seed)).model
        return torch.cat([parameter.flatten() for parameter in model.parameters()])

    control = random_like(tmp_path)
    assert torch.equal(weights(control), weights(control))
    assert not torch.equal(weights(control), weights(control, seed=1))
    assert not torch.equal(weights(control), weights(next(folder_teachers(tmp_path))))
