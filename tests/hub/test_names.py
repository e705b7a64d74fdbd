from pathlib import Path

import pytest
from hub_server import model_files

from hf_ctkd.errors import InvalidArgumentError, ProblemCode
from hf_ctkd.hub import candidates_named, license_named
from hf_ctkd.records import NOT_LOOKED_UP


def _save(folder):
    folder.mkdir()
    for name, content in model_files().items():
        (folder / name).write_bytes(content)


@pytest.fixture
def zoo(tmp_path):
    for name in ("one", "two"):
        _save(tmp_path / name)
    return tmp_path


def test_a_folder_of_many_stands_for_all_of_them(zoo):
    for name in (zoo, str(zoo)):
        assert [Path(found.model_id).name for found in candidates_named(name)] == ["one", "two"]


def test_an_id_is_looked_up_only_when_asked_for(hub):
    found = candidates_named("org/one@main")
    sha = hub.add("org/one", model_files())
    assert [(one.model_id, one.revision, one.random_weights) for one in found] == [("org/one", sha, False)]


def test_a_control_of_a_model_on_the_hub_or_in_a_folder(hub, zoo):
    found = candidates_named("random:org/one")
    hub.add("org/one", model_files())
    assert [(one.model_id, one.random_weights) for one in found] == [("org/one", True)]
    (control,) = candidates_named(f"random:{zoo / 'two'}")
    assert (control.source, control.random_weights) == ("folder", True)


def test_a_path_is_never_an_id(tmp_path):
    with pytest.raises(InvalidArgumentError, match="is no folder. Check the spelling"):
        candidates_named(tmp_path / "gone")
    with pytest.raises(InvalidArgumentError, match="A model id must look like"):
        candidates_named("org/a@")


@pytest.mark.parametrize("before", ["", "random:"])
def test_a_folder_without_a_model_is_listed_with_this_problem(tmp_path, before):
    (found,) = candidates_named(f"{before}{tmp_path}")
    assert (found.model_id, found.source, found.random_weights) == (str(tmp_path), "folder", bool(before))
    assert found.problem_code is ProblemCode.NO_CONFIG
    assert found.problem.endswith("has a config.json. Save a model there with `save_pretrained`.")


def test_a_licence_on_a_card_that_cannot_be_read_is_not_taken_for_one_that_is_not_stated(zoo):
    (zoo / "one" / "README.md").write_text("---\nlicense: [\n---\n")
    assert license_named(str(zoo / "one")) == NOT_LOOKED_UP


def test_the_token_reaches_the_hub(hub, logged_in, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    hub.add("org/secret", model_files(), private=True)
    for name in ("org/secret", "random:org/secret"):
        (refused,) = candidates_named(name)
        (found,) = candidates_named(name, token=logged_in)
        assert "private or missing" in refused.problem and found.problem is None


def test_the_licence_of_a_model_wherever_it_is(hub, zoo):
    hub.add("org/one", model_files(card="license: mit"))
    hub.add("org/silent", model_files(card=None))
    assert license_named("org/one") == "mit"
    assert license_named(str(zoo / "one")) == "apache-2.0"
    (zoo / "two" / "README.md").unlink()
    assert license_named("org/silent") is license_named(str(zoo / "two")) is None


def test_a_licence_that_cannot_be_looked_up_is_not_taken_for_one_that_is_not_stated(hub, run_against_hub, no_waiting):
    hub.add("org/one", model_files())
    assert license_named("org/gone") == NOT_LOOKED_UP
    offline = run_against_hub(
        "from hf_ctkd.hub import license_named; print(license_named('org/one'))", HF_HUB_OFFLINE="1"
    )
    assert offline.stdout.strip() == NOT_LOOKED_UP, offline.stderr
