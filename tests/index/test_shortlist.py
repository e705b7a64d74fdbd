import numpy as np
import pyarrow as pa

from hf_ctkd.index import shortlist
from hf_ctkd.index.label_spaces import LabelSpaces
from hf_ctkd.index.label_transport import transport_costs
from hf_ctkd.index.neighbours import ExactNeighbours
from hf_ctkd.index.shortlist import NameSearch, best_spaces


def problem(teachers: int = 4000):
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((300, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = [generator.choice(300, generator.integers(2, 12), False) for _ in range(teachers)]
    spaces = LabelSpaces.of(
        pa.array([[f"n {name:03}" for name in row] for row in labels]), np.zeros(teachers, dtype=int)
    )
    ordered = vectors[[int(name.split()[1]) for name in spaces.names]]
    return NameSearch(ordered, ExactNeighbours(ordered), 0.5), spaces, ordered


def test_the_best_of_all_spaces_are_found_without_solving_all():
    names, spaces, vectors = problem()
    target = names.resembling(vectors[:6], spaces)
    best, costs = best_spaces(target, spaces, 50)
    every = transport_costs(names.compared(np.arange(300), vectors[:6]), spaces, np.arange(len(spaces.sizes)))
    assert (costs <= np.sort(every)[49] + 1e-3).mean() >= 0.95
    assert (np.diff(costs) >= 0).all() and np.allclose(every[best], costs, atol=0.02)


def test_long_lists_are_read_in_part(monkeypatch):
    monkeypatch.setattr(shortlist, "_MOST_ENTRIES", 50)
    monkeypatch.setattr(shortlist, "_MOST_OF_ONE", 30)
    names, spaces, vectors = problem(500)
    best, _ = best_spaces(names.resembling(vectors[:3], spaces), spaces, 20)
    assert 0 < len(best) <= 20
    assert shortlist._shares(np.array([5, 100, 40, 7])).tolist() == [5, 30, 15, 0]
    assert shortlist._shares(np.array([5, 29])).tolist() == [5, 29]


def test_only_allowed_spaces_are_returned():
    names, spaces, vectors = problem(500)
    allowed = np.arange(len(spaces.sizes)) % 2 == 0
    best, _ = best_spaces(names.resembling(vectors[:3], spaces), spaces, 20, allowed)
    assert len(best) == 20 and (best % 2 == 0).all()


def test_more_names_are_read_for_each_class_where_each_is_in_few_spaces(monkeypatch):
    asked = []
    names, spaces, vectors = problem(500)
    monkeypatch.setattr(names.neighbours, "similar", lambda queries, count, least: asked.append(count) or np.arange(9))
    entries = len(spaces.holders.values)
    for most, classes in ((10**9, 3), (entries, 1), (entries, 2), (50, 3)):
        monkeypatch.setattr(shortlist, "_MOST_ENTRIES", most)
        names.resembling(vectors[:classes], spaces)
    assert asked == [512, 300, 150, 128], "as many as can be read, within bounds"
