import numpy as np

from hf_ctkd.index import neighbours
from hf_ctkd.index.neighbours import ApproximateNeighbours, ExactNeighbours, neighbours_among


def unit(count: int, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((count, 16)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_nearest_above_a_cosine():
    vectors, queries = unit(200), unit(2, seed=1)
    cosines = queries @ vectors.T
    expected = sorted({*np.argsort(-cosines[0])[:5], *np.argsort(-cosines[1])[:5]})
    assert ExactNeighbours(vectors).similar(queries, 5, -1.0).tolist() == expected
    assert (
        ExactNeighbours(vectors).similar(queries, 200, 0.4).tolist() == np.unique(np.where(cosines > 0.4)[1]).tolist()
    )
    assert len(ExactNeighbours(vectors).similar(queries, 5, 1.1)) == 0


def test_approximate_neighbours_are_nearly_all():
    vectors, queries = unit(2000), unit(20, seed=1)
    exact = set(ExactNeighbours(vectors).similar(queries, 20, 0.2).tolist())
    approximate = set(ApproximateNeighbours(vectors).similar(queries, 20, 0.2).tolist())
    assert len(exact & approximate) >= 0.95 * len(exact) and approximate <= exact | approximate


def test_links_that_were_kept_find_the_same():
    vectors, queries = unit(2000), unit(20, seed=1)
    built = ApproximateNeighbours(vectors)
    links = built.links()
    assert len(links) < len(vectors) * 16 * 18, "the vectors are not in it"
    again = ApproximateNeighbours(vectors, links)
    assert again.similar(queries, 20, 0.2).tolist() == built.similar(queries, 20, 0.2).tolist()


def test_many_names_without_the_extra_are_compared_one_by_one_with_a_line_in_the_log(monkeypatch, caplog):
    monkeypatch.setattr(neighbours, "_MANY_NAMES", 10)
    monkeypatch.setattr(neighbours, "find_spec", lambda name: None)
    assert isinstance(neighbours_among(unit(9)), ExactNeighbours) and not caplog.text
    assert isinstance(neighbours_among(unit(10)), ExactNeighbours)
    assert '10 names are compared one by one, which is slow; `pip install "hf_ctkd[index]"`' in caplog.text
