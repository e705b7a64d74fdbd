import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.selection.store import ScoreStore, StoredScores


def test_what_was_written_comes_back_under_its_key(tmp_path):
    store = ScoreStore(tmp_path / "scores")
    assert store.read({"rows": "a"}) == StoredScores()
    stored = StoredScores({"leep": -1.5, "other": None}, 2.5, 100)
    store.write({"rows": "a"}, stored)
    assert store.read({"rows": "a"}) == stored
    assert store.read({"rows": "b"}) == StoredScores()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "teacher-scores"}'])
def test_a_file_that_cannot_be_read_counts_as_nothing(tmp_path, content):
    store = ScoreStore(tmp_path)
    store.write({"rows": "a"}, StoredScores({"leep": -1.0}))
    next(tmp_path.iterdir()).write_text(content)
    assert store.read({"rows": "a"}) == StoredScores()


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write"):
        ScoreStore(tmp_path / "file").write({}, StoredScores())
