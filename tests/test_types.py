import time

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.types import Hidden, LabelSpace, ModelOutputs


@pytest.fixture
def outputs():
    mask = torch.tensor([[True, False], [True, True], [True, True]])
    return ModelOutputs(
        features=torch.arange(3.0)[:, None],
        logits=torch.arange(6.0).view(3, 2),
        hidden=(Hidden(torch.arange(6.0).view(3, 2, 1), (2,), mask), Hidden(torch.zeros(3, 4, 1), (2, 2))),
        layers=(torch.arange(3.0)[:, None] + 10,),
        dense=torch.arange(12.0).view(3, 2, 2),
    )


@pytest.mark.parametrize("rows", [torch.tensor([2, 0]), torch.tensor([True, False, True])])
def test_every_part_is_selected_alike(outputs, rows):
    chosen = outputs.select(rows)
    expected = [2, 0] if rows.dtype == torch.long else [0, 2]
    assert len(chosen) == 2 and chosen.features[:, 0].tolist() == expected
    assert chosen.logits[:, 0].tolist() == [2 * row for row in expected]
    assert chosen.hidden[0].values[:, 0, 0].tolist() == [2 * row for row in expected]
    assert chosen.hidden[0].mask.tolist() == [[True, row != 0] for row in expected]
    assert chosen.hidden[1].mask is None and chosen.hidden[1].grid == (2, 2)
    assert chosen.layers[0][:, 0].tolist() == [10 + row for row in expected]
    assert chosen.dense[:, 0, 0].tolist() == [4 * row for row in expected]


def test_every_part_moves_to_the_device(outputs):
    moved = outputs.to("meta")
    parts = (moved.features, moved.logits, moved.hidden[0].values, moved.hidden[0].mask, *moved.layers, moved.dense)
    assert all(part.device.type == "meta" for part in parts)
    bare = ModelOutputs(outputs.features).to("meta")
    assert (bare.logits, bare.hidden, bare.layers, bare.dense) == (None, (), (), None)


def test_the_head_goes_along():
    outputs = ModelOutputs(torch.ones(3, 2), head=lambda features: features.sum(1, keepdim=True))
    for same in (outputs.select(torch.tensor([0])), outputs.to("cpu")):
        assert same.head(torch.ones(4, 2)).tolist() == [[2.0]] * 4


def test_bad_names_of_classes_are_refused():
    with pytest.raises(InvalidArgumentError, match="`names` of a label space must hold at least one class, got none"):
        LabelSpace(())
    with pytest.raises(InvalidArgumentError, match="'cat' occurs 2 times. Rename or merge"):
        LabelSpace(("cat", "dog", "cat"))


def test_many_classes_take_no_time():
    start = time.perf_counter()
    assert len(LabelSpace(tuple(str(label) for label in range(200_000)))) == 200_000
    # Linear, this takes 0.1 s; comparing all pairs took 20 s for 21,841 classes.
    assert time.perf_counter() - start < 5


def test_a_configuration_s_names_stand_in_the_order_of_their_ids():
    assert LabelSpace.from_id2label({"10": "k", "9": "j", "0": "a"}).names == ("a", "j", "k")
    assert LabelSpace.from_id2label({1: "cat", 0: "cat", 2: "cat"}).names == ("cat", "cat (1)", "cat (2)")
    assert LabelSpace.of(["a", "a (2)", "a"]).names == ("a", "a (2)", "a (2) (2)")
    assert LabelSpace.of(["a", "a", "a (1)"]).names == ("a", "a (1)", "a (1) (2)")
    with pytest.raises(InvalidArgumentError, match="`id2label` must name the model's classes, got None"):
        LabelSpace.from_id2label(None)


@pytest.mark.parametrize(
    ("names", "informative"),
    [
        (("LABEL_0", "LABEL_1"), False),
        (("0", "1"), False),
        (("Class 3", "class-4"), False),
        (("0", "cat"), True),
        (("labels_1", "x"), True),
    ],
)
def test_names_that_say_nothing(names, informative):
    assert LabelSpace(names).informative == informative
