import numpy as np
import pyarrow as pa

from hf_ctkd.index.label_spaces import LabelSpaces, Lists

NAMES = pa.array(
    [["Cat", "dog"], None, ["dog", "cat"], ["LABEL_0", "LABEL_1"], ["cat", "3"], [], ["cat", "cat", "cow"]]
)


def test_teachers_with_the_same_names_share_a_space():
    spaces = LabelSpaces.of(NAMES, np.array([1, 0, 9, 0, 0, 0, 0]))
    assert spaces.names == ["cat", "dog", "cow"]
    described = {
        (frozenset(spaces.names[name] for name in spaces.members[space]), int(spaces.sizes[space])): (
            spaces.teachers[space].tolist()
        )
        for space in range(len(spaces.sizes))
    }
    assert described == {
        (frozenset({"cat", "dog"}), 2): [2, 0],
        (frozenset({"cat"}), 2): [4],
        (frozenset({"cat", "cow"}), 2): [6],
    }
    assert [len(spaces.holders[name]) for name in range(3)] == [3, 1, 1]


def test_holders_with_the_fewest_classes_come_first():
    spaces = LabelSpaces.of(pa.array([["a", "b", "c"], ["a"], ["a", "b"]]), np.zeros(3, dtype=int))
    assert spaces.sizes[spaces.holders[0]].tolist() == [1, 2, 3]


def test_an_index_without_names_has_no_space():
    spaces = LabelSpaces.of(pa.array([None, ["LABEL_0"]], type=pa.list_(pa.string())), np.zeros(2, dtype=int))
    assert spaces.names == [] and len(spaces.sizes) == 0


def test_lists_are_gathered_with_their_owners():
    lists = Lists.grouped(np.array([2, 0, 2, 0]), np.array([7, 8, 9, 6]), 3)
    values, owners = lists.gather(np.array([2, 1, 0]))
    assert values.tolist() == [7, 9, 8, 6] and owners.tolist() == [0, 0, 2, 2]
    assert len(lists) == 3
