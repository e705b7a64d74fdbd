import logging

import numpy as np
import pytest
from index_teachers import teacher

from hf_ctkd.index import SpellingEncoder, TeacherIndex, neighbours, vector_cache
from hf_ctkd.index.encoders import unit_vectors
from hf_ctkd.index.neighbours import ExactNeighbours
from hf_ctkd.index.vector_cache import VectorCache


class Counting:
    """By spelling; counts the names that it encodes."""

    def __init__(self, name="counting"):
        self.name = name
        self.count = 0

    def __call__(self, names):
        self.count += len(names)
        return SpellingEncoder()(names)


class Graph(ExactNeighbours):
    """Stands for that of faiss, which need not be installed; counts how often its links are found."""

    built = 0

    def __init__(self, vectors, links=None):
        super().__init__(vectors)
        Graph.built += links is None
        assert links in (None, self.links()), "links of other vectors"

    def links(self):
        return self._columns.tobytes()


@pytest.fixture
def graph(monkeypatch):
    monkeypatch.setattr(neighbours, "_MANY_NAMES", 3)
    monkeypatch.setattr(neighbours, "find_spec", lambda name: name)
    monkeypatch.setattr(vector_cache, "ApproximateNeighbours", Graph)
    monkeypatch.setattr(vector_cache, "graph_settings", lambda: "stand-in 1")
    monkeypatch.setattr(Graph, "built", 0)
    return Graph


NAMES = ["tabby cat", "truck", "rose"]


def test_names_are_encoded_once_for_all_processes(tmp_path):
    encoder = Counting()
    first = VectorCache(tmp_path).unit_vectors(encoder, NAMES)
    again = VectorCache(tmp_path).unit_vectors(encoder, NAMES)
    assert encoder.count == 3 and np.array_equal(first, again)
    assert np.array_equal(first, unit_vectors(SpellingEncoder(), NAMES))


def test_other_names_replace_the_file_and_another_encoder_has_its_own(tmp_path):
    cache, encoder = VectorCache(tmp_path), Counting()
    cache.unit_vectors(encoder, NAMES)
    cache.unit_vectors(Counting("another"), NAMES)
    assert len(list(cache.folder.iterdir())) == 2
    longer = cache.unit_vectors(encoder, [*NAMES, "oak"])
    assert len(longer) == 4 and encoder.count == 7
    assert len(list(cache.folder.iterdir())) == 2, "the stale file is gone"
    assert np.array_equal(cache.unit_vectors(encoder, NAMES[::-1]), unit_vectors(encoder, NAMES[::-1]))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"no array"], ids=["empty", "cut off", "other"])
def test_a_damaged_file_is_made_again(tmp_path, content):
    cache, encoder = VectorCache(tmp_path), Counting()
    vectors = np.array(cache.unit_vectors(encoder, NAMES))
    [path] = cache.folder.iterdir()
    path.write_bytes(content)
    assert np.array_equal(cache.unit_vectors(encoder, NAMES), vectors) and encoder.count == 6
    path.write_bytes(path.read_bytes()[:-8])  # its header is sound, but the last numbers are missing
    assert np.array_equal(cache.unit_vectors(encoder, NAMES), vectors) and encoder.count == 9


def test_a_folder_that_cannot_be_written_costs_a_line_in_the_log(tmp_path, caplog):
    (tmp_path / "vectors").write_text("a file in the way")
    with caplog.at_level(logging.WARNING):
        vectors = VectorCache(tmp_path).unit_vectors(SpellingEncoder(), NAMES)
    assert len(vectors) == 3 and "The vectors of 3 names are not cached" in caplog.text


def test_the_graph_among_many_names_is_found_once(graph, tmp_path, monkeypatch):
    encoder, vectors = SpellingEncoder(), unit_vectors(SpellingEncoder(), NAMES)
    cache = VectorCache(tmp_path)
    assert type(cache.neighbours(encoder, vectors[:2])) is ExactNeighbours and not cache.folder.exists()
    first, again = cache.neighbours(encoder, vectors), cache.neighbours(encoder, vectors)
    assert graph.built == 1 and isinstance(again, Graph)
    assert again.similar(vectors[:1], 3, 0.5).tolist() == first.similar(vectors[:1], 3, 0.5).tolist() == [0]
    [path] = cache.folder.iterdir()

    cache.neighbours(encoder, vectors[::-1])
    [path] = cache.folder.iterdir()
    assert graph.built == 2, "of other vectors, in place of the stale file"
    monkeypatch.setattr(vector_cache, "graph_settings", lambda: "stand-in 2")
    cache.neighbours(encoder, vectors[::-1])
    assert graph.built == 3 and not path.exists(), "of another version"

    [path] = cache.folder.iterdir()
    for damaged in (b"", path.read_bytes()[:-4], path.read_bytes()[:-1] + b"?"):
        path.write_bytes(damaged)
        cache.neighbours(encoder, vectors[::-1])
    assert graph.built == 6, "a damaged file is made again"


def test_a_graph_that_cannot_be_kept_costs_a_line_in_the_log(graph, tmp_path, caplog):
    (tmp_path / "vectors").write_text("a file in the way")
    vectors = unit_vectors(SpellingEncoder(), NAMES)
    assert isinstance(VectorCache(tmp_path).neighbours(SpellingEncoder(), vectors), Graph)
    assert "The links among 3 names are not cached, so the next search waits too" in caplog.text


def test_an_index_of_many_names_that_is_opened_again_reads_its_graph(graph, tmp_path):
    teachers = [teacher("pets", ["tabby cat", "dog"]), teacher("cars", ["truck", "van"])]
    found = TeacherIndex.build(teachers, tmp_path).search(["cats"])
    assert TeacherIndex.load(tmp_path).search(["cats"]) == found and graph.built == 1


def test_an_index_that_is_opened_again_encodes_the_query_alone(tmp_path):
    teachers = [teacher("pets", ["tabby cat", "dog"]), teacher("cars", ["truck", "van"])]
    first = Counting()
    found = TeacherIndex.build(teachers, tmp_path, encoder=first).search(["cats"])
    second = Counting()
    assert TeacherIndex.load(tmp_path, encoder=second).search(["cats"]) == found
    assert first.count - second.count == 4
    TeacherIndex.build([*teachers, teacher("trees", ["oak", "ash"])], tmp_path)
    third = Counting()
    assert TeacherIndex.load(tmp_path, encoder=third).search(["oaks"])[0].model_id.endswith("trees")
    assert third.count - second.count == 6
