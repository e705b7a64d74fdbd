import pytest
from hub_server import TOKEN, model_files

from hf_ctkd.errors import InvalidArgumentError, PublishingError, TeacherUnavailableError
from hf_ctkd.index import TeacherIndex
from hf_ctkd.records import TeacherCandidate


def test_pushed_and_pulled_back(hub, logged_in, index, teachers, tmp_path):
    index.push_to_hub("me/teachers")
    assert hub.repos["me/teachers"].private
    assert sorted(hub.repos["me/teachers"].files) == ["README.md", "data/teachers-000000.parquet"]
    assert 'TeacherIndex.from_hub("me/teachers")' in hub.repos["me/teachers"].files["README.md"].decode()
    assert TeacherIndex.from_hub("me/teachers", token=TOKEN).teachers == teachers
    pulled = TeacherIndex.from_hub("me/teachers", path=tmp_path / "pulled")
    assert pulled.teachers == TeacherIndex.load(tmp_path / "pulled").teachers == teachers


def test_a_push_replaces_the_parts_before(hub, logged_in, index, tmp_path):
    hub.add("me/teachers", {"data/teachers-000007.parquet": b"old", "notes.md": b"mine"})
    index.push_to_hub("me/teachers", private=False)
    assert sorted(hub.repos["me/teachers"].files) == ["README.md", "data/teachers-000000.parquet", "notes.md"]


def test_folders_of_this_machine_are_not_pushed(hub, logged_in, teachers, tmp_path, caplog):
    folder = TeacherCandidate(str(tmp_path / "zoo"), "0", "folder")
    TeacherIndex.build([*teachers, folder], tmp_path / "index").push_to_hub("me/teachers")
    assert "1 teachers of folders are not pushed." in caplog.text
    assert TeacherIndex.from_hub("me/teachers").teachers == teachers
    with pytest.raises(
        InvalidArgumentError, match="The index holds no teacher of the Hub, so there is nothing to push"
    ):
        TeacherIndex.build([folder], tmp_path / "other").push_to_hub("me/teachers")


def test_refusals_are_one_sentence(hub, index):
    with pytest.raises(PublishingError, match="Cannot publish to 'me/teachers' without a token"):
        index.push_to_hub("me/teachers")
    with pytest.raises(
        TeacherUnavailableError, match="The index 'me/none' cannot be fetched: it is private or missing"
    ):
        TeacherIndex.from_hub("me/none")
    hub.add("me/model", model_files())
    with pytest.raises(InvalidArgumentError, match="`repo_id` 'me/model' holds no index"):
        TeacherIndex.from_hub("me/model")
