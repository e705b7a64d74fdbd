import copy

import pytest
import torch
from pools import CLASSES, POOLS, rows_of
from torch import nn
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import Supernet
from hf_ctkd.types import Hidden

SEEDS = range(4)


def moved(supernet: Supernet) -> Supernet:
    """With weights and statistics away from where initialisation leaves them: zeros and ones would hide mistakes."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in [*supernet.parameters(), *supernet.buffers()]:
            if tensor.is_floating_point():
                tensor.add_(0.1 * torch.rand(tensor.shape, generator=generator))
    return supernet


def test_a_copy_has_weights_of_its_own():
    pool, rows = POOLS["resnet"], rows_of(POOLS["resnet"])
    supernet, member = Supernet(pool, CLASSES), pool.sample(1, seed=0)[0]
    supernet(rows, member)
    copied = copy.deepcopy(supernet)
    copied(rows, member).sum().backward()
    assert any(parameter.grad is not None for parameter in copied.parameters())
    assert all(parameter.grad is None for parameter in supernet.parameters())


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("seed", SEEDS)
def test_an_exported_path_says_the_same_as_the_supernet(name, seed, tmp_path):
    pool, rows = POOLS[name], rows_of(POOLS[name])
    supernet = moved(Supernet(pool, CLASSES, seed=seed)).eval()
    member = pool.sample(1, seed=seed)[0]
    exported = supernet.export(member)
    logits = supernet(rows, member)
    assert torch.equal(exported(**rows).logits, logits)
    assert exported.config.to_dict() == member.config(CLASSES).to_dict()
    exported.save_pretrained(tmp_path)
    auto = AutoModelForSequenceClassification if name == "bert" else AutoModelForImageClassification
    opened = auto.from_pretrained(tmp_path).eval()
    assert type(opened) is pool.kind.model_class
    torch.testing.assert_close(opened(**rows).logits, logits)


@pytest.mark.parametrize("name", POOLS)
def test_an_exported_path_also_trains_the_same(name):
    pool, rows = POOLS[name], rows_of(POOLS[name])
    settings = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0} if name == "bert" else {}
    pool = type(pool).from_dict({**pool.to_dict(), "settings": {**pool.settings, **settings}})
    supernet = moved(Supernet(pool, CLASSES))
    member = pool.sample(1, seed=5)[0]
    exported = supernet.export(member).train()
    supernet.train()
    supernet(rows, member).square().sum().backward()
    exported(**rows).logits.square().sum().backward()
    own = dict(exported.named_parameters())
    gradients = {key: parameter.grad for key, parameter in supernet.shared.named_parameters()}
    largest = pool.largest.shape.depths
    for key, parameter in own.items():
        shared = gradients[pool.kind.source(key, member.shape.depths, largest)]
        torch.testing.assert_close(shared[tuple(slice(0, size) for size in parameter.shape)], parameter.grad)
    used = sum(parameter.grad.abs().sum() for parameter in own.values())
    total = sum(gradient.abs().sum() for gradient in gradients.values() if gradient is not None)
    torch.testing.assert_close(used, total)  # and no other entry has a gradient


@pytest.mark.parametrize("name", POOLS)
def test_tails_are_the_second_part_of_the_member(name):
    pool, rows = POOLS[name], rows_of(POOLS[name])
    supernet = moved(Supernet(pool, CLASSES)).eval()
    member = pool.sample(1, seed=6)[0]
    depths = member.shape.depths
    states = supernet.export(member)(**rows, output_hidden_states=True).hidden_states
    entries = {}
    for boundary in (1, 2):
        state = states[boundary if pool.kind.maps else sum(depths[:boundary])]
        if pool.kind.maps:
            entries[boundary] = Hidden(state.flatten(2).transpose(1, 2), tuple(state.shape[2:]))
        else:
            mask = rows["attention_mask"].bool() if "attention_mask" in rows else None
            entries[boundary] = Hidden(state, (state.shape[1],), mask)
        assert entries[boundary].values.shape[2] == member.shape.entry_width(boundary)
    logits = supernet(rows, member)
    for tail in supernet.tails(member, entries):
        torch.testing.assert_close(tail, logits)


def test_padding_changes_nothing_behind_a_boundary():
    pool, rows = POOLS["bert"], rows_of(POOLS["bert"])
    supernet = moved(Supernet(pool, CLASSES)).eval()
    member, mask = pool.largest, rows["attention_mask"].bool()
    values = torch.randn(*mask.shape, member.shape.entry_width(1))
    other = values.masked_fill(~mask[..., None], 7.0)
    one, two = (supernet.tails(member, {1: Hidden(entry, (mask.shape[1],), mask)})[0] for entry in (values, other))
    torch.testing.assert_close(one, two)


def test_a_smaller_member_has_the_first_layers_of_every_stage():
    pool = POOLS["vit"]  # depths 1-2, 1-3, 1-2
    source = pool.kind.source
    assert source("vit.layers.1.mlp.fc1.weight", (1, 2, 1), (2, 3, 2)) == "vit.layers.2.mlp.fc1.weight"
    assert source("vit.layers.3.mlp.fc1.weight", (1, 2, 1), (2, 3, 2)) == "vit.layers.5.mlp.fc1.weight"
    assert source("vit.layernorm.weight", (1, 2, 1), (2, 3, 2)) == "vit.layernorm.weight"


def test_training_a_path_moves_the_shared_statistics_that_it_uses():
    pool = POOLS["resnet"]
    supernet = Supernet(pool, CLASSES).train()
    smallest = next(iter(pool))
    supernet(rows_of(pool), smallest)
    norm = supernet.shared.resnet.encoder.stages[2].layers[0].layer[0].normalization
    width = smallest.shape.widths[2]
    assert (norm.running_mean[:width] != 0).all() and (norm.running_mean[width:] == 0).all()


def test_statistics_of_an_exported_member_can_be_estimated_anew():
    pool, rows = POOLS["resnet"], rows_of(POOLS["resnet"], 16)
    supernet = moved(Supernet(pool, CLASSES))
    member = pool.sample(1, seed=1)[0]
    before = copy.deepcopy(supernet.state_dict())
    halves = [{"pixel_values": half} for half in rows["pixel_values"].split(8)]
    exported = supernet.export(member, calibration=halves)
    first = exported.resnet.embedder.embedder
    wanted = torch.stack([first.convolution(half["pixel_values"]).mean((0, 2, 3)) for half in halves]).mean(0)
    torch.testing.assert_close(first.normalization.running_mean, wanted)
    assert all(norm.momentum == 0.1 for norm in exported.modules() if isinstance(norm, nn.BatchNorm2d))
    assert not exported.training
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())


def test_an_exported_member_shares_no_memory_with_the_supernet():
    supernet = Supernet(POOLS["vit"], CLASSES)
    exported = supernet.export(POOLS["vit"].largest)
    before = copy.deepcopy(supernet.state_dict())
    with torch.no_grad():
        for parameter in exported.parameters():
            parameter.fill_(3.0)
    assert all(torch.equal(value, before[key]) for key, value in supernet.state_dict().items())


def test_members_of_another_pool_are_refused():
    with pytest.raises(InvalidArgumentError, match="must belong to the pool of this supernet"):
        Supernet(POOLS["resnet"], CLASSES)(rows_of(POOLS["resnet"]), POOLS["convnext"].largest)


def test_more_paths_than_are_remembered_still_run(monkeypatch):
    monkeypatch.setattr("hf_ctkd.generic.supernet._MAX_CACHED_RUNNERS", 2)
    pool = POOLS["vit"]
    supernet, rows = Supernet(pool, CLASSES).eval(), rows_of(pool)
    members = pool.sample(4, seed=0)
    first = [supernet(rows, member) for member in members]
    assert all(torch.equal(one, supernet(rows, member)) for one, member in zip(first, members, strict=True))


@pytest.mark.parametrize("name", POOLS)
def test_a_started_student_has_the_weights_of_its_branches_behind_the_first_stage(name):
    pool, rows = POOLS[name], rows_of(POOLS[name])
    supernet = moved(Supernet(pool, CLASSES)).eval()
    member = pool.sample(1, seed=6)[0]
    student = supernet.started(member, seed=3)
    assert student.training
    student.eval()
    outputs = student(**rows, output_hidden_states=True)
    state = outputs.hidden_states[1 if pool.kind.maps else member.shape.depths[0]]
    if pool.kind.maps:
        entry = Hidden(state.flatten(2).transpose(1, 2), tuple(state.shape[2:]))
    else:
        mask = rows["attention_mask"].bool() if "attention_mask" in rows else None
        entry = Hidden(state, (state.shape[1],), mask)
    (tail,) = supernet.tails(member, {1: entry})
    torch.testing.assert_close(tail, outputs.logits)


@pytest.mark.parametrize("name", POOLS)
def test_stem_and_first_stage_of_a_started_student_are_random(name):
    pool = POOLS[name]
    member = pool.sample(1, seed=6)[0]
    student = moved(Supernet(pool, CLASSES)).started(member, seed=3)
    fresh = dict(member.build(CLASSES, seed=3).named_parameters())
    front = {id(weight) for part in pool.kind.front(student, member.shape.depths) for weight in part.parameters()}
    same = {name for name, weight in student.named_parameters() if torch.equal(weight, fresh[name])}
    assert same == {name for name, weight in student.named_parameters() if id(weight) in front}
