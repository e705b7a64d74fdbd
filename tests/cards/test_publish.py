import doctest
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hub_server import TOKEN
from huggingface_hub import ModelCard, snapshot_download
from huggingface_hub.utils import get_session
from safetensors.torch import load_file, save_file

from hf_ctkd.cards import publish, publishable_files
from hf_ctkd.cards import publish as public
from hf_ctkd.errors import InvalidArgumentError, PublishingError


def test_examples():
    import sys

    module = sys.modules[public.__module__]
    assert doctest.testmod(module).failed == 0


def test_published_listed_and_pulled_with_a_card_that_parses(hub, logged_in, folder, tmp_path):
    url = publish(folder, "me/pets-student")
    assert url.startswith(f"{hub.url}/me/pets-student/commit/")
    assert hub.repos["me/pets-student"].private
    pulled = Path(snapshot_download("me/pets-student", cache_dir=tmp_path / "cache"))
    found = sorted(str(path.relative_to(pulled)) for path in pulled.rglob("*") if path.is_file())
    assert found == publishable_files(folder)
    for name in found:
        assert (pulled / name).read_bytes() == (folder / name).read_bytes()

    card = ModelCard.load("me/pets-student")
    # `card.validate()` of huggingface_hub 1 asks huggingface.co, whatever the endpoint is.
    get_session().post(
        f"{hub.url}/api/validate-yaml", json={"repoType": "model", "content": str(card)}
    ).raise_for_status()
    assert card.data.license == "mit"
    assert [result.metric_value for result in card.data.eval_results] == [0.9, 0.88]
    assert card.text.count('from_pretrained("me/pets-student")') == 2
    assert yaml.safe_load((pulled / ".eval_results" / "hf_ctkd-f1.yaml").read_text())[0]["value"] == 0.88


def test_public_with_a_message_when_asked_for(hub, folder):
    publish(folder, "me/pets-student", private=False, token=TOKEN, commit_message="First")
    assert not hub.repos["me/pets-student"].private


def test_published_twice_after_more_training(hub, logged_in, folder, pets_record):
    publish(folder, "me/pets-student")
    replace(pets_record, results={"accuracy": replace(pets_record.results["accuracy"], value=0.93)}).save(
        folder / "distillation.json"
    )
    publish(folder, "me/pets-student")
    assert b"| accuracy | 0.930" in hub.repos["me/pets-student"].files["README.md"]


def test_an_incomplete_folder_is_noticed_before_anything_is_written_or_sent(hub, logged_in, folder):
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(PublishingError, match="has no image processor"):
        publish(folder, "me/pets-student")
    assert not (folder / "README.md").exists()
    assert not hub.requests


def test_weights_that_are_not_finite_are_noticed_before_anything_is_written_or_sent(hub, logged_in, folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.1.bias"].fill_(float("nan"))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PublishingError, match=r"are not finite: 'classifier.1.bias' holds NaN or infinity\."):
        publish(folder, "me/pets-student")
    assert not (folder / "README.md").exists()
    assert not hub.requests


def test_the_hub_refuses(hub, logged_in, folder):
    with pytest.raises(PublishingError, match="Cannot publish to 'else/student'"):
        publish(folder, "else/student")


def test_a_name_alone_is_published_under_its_owner(hub, logged_in, folder):
    publish(folder, "pets-student")
    assert b'from_pretrained("me/pets-student")' in hub.repos["me/pets-student"].files["README.md"]


def test_a_name_alone_without_an_owner(hub, folder):
    for name in ("student", "me/student"):
        with pytest.raises(PublishingError, match=f"Cannot publish to '{name}' without a token. Log in with"):
            publish(folder, name)
        assert not (folder / "README.md").exists()
    with pytest.raises(PublishingError, match="Cannot publish to 'student': the Hub refused the token"):
        publish(folder, "student", token="hf_wrong")
    assert not (folder / "README.md").exists()


def test_names_that_are_no_repository_or_folder(folder, tmp_path):
    for name in ("a/b/c", "two words", ""):
        with pytest.raises(InvalidArgumentError, match=f"`repo_id` must be 'owner/name' or 'name', got '{name}'"):
            publish(folder, name)
    with pytest.raises(PublishingError, match="is no folder. Name the one in which the student was saved."):
        publish(tmp_path / "none", "me/x")


def test_a_folder_without_a_record(hub, logged_in, folder):
    (folder / "distillation.json").unlink()
    with pytest.raises(PublishingError, match=r"has no distillation\.json, from which the card is rendered. Name a"):
        publish(folder, "me/x")
    assert not hub.requests
