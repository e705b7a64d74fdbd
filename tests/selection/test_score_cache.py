import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.selection.score_cache import CachedScores, ScoreCache


def test_what_was_written_comes_back_under_its_key(tmp_path):
    cache = ScoreCache(tmp_path / "scores")
    assert cache.read({"rows": "a"}) == CachedScores(key={"rows": "a"})
    scores = CachedScores({"leep": -1.5, "other": None}, 2.5, 100, key={"rows": "a"})
    cache.write(scores)
    assert cache.read({"rows": "a"}) == scores
    assert cache.read({"rows": "b"}) == CachedScores(key={"rows": "b"})


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"kind": "teacher-scores"}',
        '{"kind": "teacher-scores", "format": 1, "scores": {"leep": "high"}}',
    ],
)
def test_a_damaged_file_counts_as_no_scores(tmp_path, content):
    cache = ScoreCache(tmp_path)
    cache.write(CachedScores({"leep": -1.0}, key={"rows": "a"}))
    next(tmp_path.iterdir()).write_text(content)
    assert cache.read({"rows": "a"}) == CachedScores(key={"rows": "a"})


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write"):
        ScoreCache(tmp_path / "file").write(CachedScores())
