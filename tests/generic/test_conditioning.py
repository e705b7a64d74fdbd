import pytest
import torch
import torch.nn.functional as F
from pools import CLASSES, POOLS, TEXT_CLASSES, rows_of, teacher
from transformers import PreTrainedConfig

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import BranchSettings, Conditioning
from hf_ctkd.generic.conditioning import stages_of
from hf_ctkd.generic.trainee import GenericTrainee
from hf_ctkd.losses import LossContext
from hf_ctkd.types import UNLABELLED

LABELS = torch.tensor([0, 1, 1, 0, 1])


def grafted(name, labels=LABELS, **settings):
    """A teacher with its branches, and rows for it."""
    pool = POOLS[name]
    classes = TEXT_CLASSES if name == "bert" else CLASSES
    model = teacher(pool.family, classes)
    loss = Conditioning(pool, BranchSettings(**settings), teacher_stages=stages_of(model.config))
    trainee, rows = GenericTrainee(model, loss), rows_of(pool, len(labels))
    with torch.no_grad():
        loss.setup(LossContext(labels, classes, trainee.outputs(rows), seed=4))
    return trainee.train(), rows


@pytest.mark.parametrize("name", POOLS)
def test_gradients_reach_teacher_supernet_adapters_and_paths(name):
    trainee, rows = grafted(name)
    terms = trainee(rows, LABELS, ())
    assert set(terms) == {"logits", "task_loss", "branch_ce", "branch_kl", "architecture_loss", "entropy_loss"}
    assert all(torch.isfinite(value).all() for value in terms.values())
    (terms["branch_ce"] + terms["branch_kl"]).backward(retain_graph=True)
    first = next(trainee.student.parameters())
    assert first.grad.abs().sum() > 0, "no stop-gradient on the teacher"
    assert all(adapter.weight.grad.abs().sum() > 0 for adapter in trainee.loss.adapters)
    assert sum(one.grad.abs().sum() for one in trainee.loss.supernet.parameters() if one.grad is not None) > 0
    assert all(logits.grad is None for logits in trainee.loss.paths.logits)
    trainee.zero_grad()
    terms["architecture_loss"].backward()
    assert first.grad is None or not first.grad.any(), "the architecture loss moves the paths alone"
    trained = [logits.grad for logits in trainee.loss.paths.logits if logits.requires_grad and len(logits) > 1]
    assert trained and all(gradient.abs().sum() > 0 for gradient in trained)


@pytest.mark.parametrize(("direction", "swapped"), [("from_branch", False), ("from_teacher", True)])
def test_terms_are_the_means_over_branches_and_paths(direction, swapped):
    trainee, rows = grafted(
        "vit", paths_per_step=3, kl_direction=direction, branch_kl_weight=2.0, branch_temperature=3.0
    )
    outputs = trainee.outputs(rows)
    terms = trainee.loss(outputs, (), LABELS)
    ce, kl = [], []
    for place in range(3):
        member = trainee.loss.paths.draw(4 * 1_000_003 + place).member
        width = member.shape.entry_width(1)
        entries = {
            boundary: type(entry)(
                entry.values @ adapter.weight[:width].T + adapter.bias[:width], entry.grid, entry.mask
            )
            for boundary, (adapter, entry) in enumerate(zip(trainee.loss.adapters, outputs.hidden, strict=True), 1)
        }
        for branch in trainee.loss.supernet.tails(member, entries):
            ce.append(F.cross_entropy(branch, LABELS))
            said, heard = (one.div(3.0).log_softmax(1) for one in (outputs.logits, branch))
            target, guess = (said, heard) if swapped else (heard, said)
            kl.append(9 * F.kl_div(guess, target, reduction="batchmean", log_target=True))
    assert len(ce) == 3 * 2
    torch.testing.assert_close(terms["branch_ce"], torch.stack(ce).mean())
    torch.testing.assert_close(terms["branch_kl"], 2 * torch.stack(kl).mean())


def test_rows_without_a_label_teach_by_divergence_alone():
    labels = torch.tensor([0, UNLABELLED, 1, UNLABELLED, 1])
    trainee, rows = grafted("vit", labels=labels, paths_per_step=1)
    outputs = trainee.outputs(rows)
    trainee.loss.drawn.zero_()
    first = trainee.loss(outputs, (), labels)
    trainee.loss.drawn.zero_()
    changed = outputs.logits.detach().clone()
    changed[1, 0] += 2.0
    second = trainee.loss(type(outputs)(outputs.features, changed, outputs.hidden), (), labels)
    torch.testing.assert_close(first["branch_ce"], second["branch_ce"])
    assert not torch.isclose(first["branch_kl"], second["branch_kl"])


def test_terms_add_up_over_micro_batches():
    labels = torch.tensor([0, UNLABELLED, 1, UNLABELLED, 1])
    trainee, rows = grafted("vit", labels=labels, paths_per_step=1)
    outputs = trainee.outputs(rows)

    def terms(part):
        trainee.loss.drawn.zero_()
        return trainee.loss(outputs.select(part), (), labels[part])

    whole, parts = terms(torch.arange(5)), [torch.tensor([0, 1]), torch.tensor([2, 3, 4])]
    for name in ("branch_ce", "branch_kl"):
        torch.testing.assert_close(sum(terms(part)[name] * len(part) / 5 for part in parts), whole[name])


def test_the_paths_go_where_branches_do_well_or_badly_as_told():
    for sign in (1, -1):
        trainee, _ = grafted("resnet", architecture_sign=sign, entropy_weight=0.0, path_sampler="categorical")
        loss = trainee.loss
        optimizer = torch.optim.SGD([one for one in loss.paths.parameters() if one.requires_grad], lr=0.2)
        # A stand-in for the branches: wide last stages do well.
        loss._conditioning = lambda draw, *_: (torch.tensor(2.0 - draw.member.path[-1]), torch.zeros(()))
        for _ in range(60):
            outputs = trainee.outputs(rows_of(POOLS["resnet"]))
            optimizer.zero_grad()
            loss(outputs, (), LABELS)["architecture_loss"].backward()
            optimizer.step()
        wide = loss.paths.probabilities()["width of stage 3"][1]
        assert wide > 0.8 if sign == 1 else wide < 0.2


def test_the_entropy_term_keeps_the_paths_wide():
    trainee, rows = grafted("resnet", entropy_weight=0.5)
    loss = trainee.loss
    with torch.no_grad():
        loss.paths.logits[5].copy_(torch.tensor([2.0, 0.0]))
    entropy = loss.paths.entropy()
    term = loss(trainee.outputs(rows), (), LABELS)["entropy_loss"]
    torch.testing.assert_close(term, -0.5 * entropy)
    gradient = torch.autograd.grad(term, loss.paths.logits[5])[0]
    assert gradient[0] > 0 > gradient[1]  # a step downhill brings the two together


def test_uniform_paths_have_no_terms_of_their_own():
    trainee, rows = grafted("resnet", path_sampler="uniform")
    assert set(trainee.loss(trainee.outputs(rows), (), LABELS)) == {"branch_ce", "branch_kl"}
    assert trainee.loss.diagnostics()["path_entropy"] == pytest.approx(1.0)


def test_draws_go_on_in_training_and_stand_still_in_evaluation():
    trainee, rows = grafted("resnet")
    outputs = trainee.outputs(rows)
    trainee.loss(outputs, (), LABELS)
    assert int(trainee.loss.drawn) == 2 and float(trainee.loss.expected) > 0
    trainee.eval()
    before = float(trainee.loss.expected)
    trainee.loss(outputs, (), LABELS)
    assert int(trainee.loss.drawn) == 2 and float(trainee.loss.expected) == before


def test_its_state_round_trips():
    trainee, rows = grafted("bert")
    trainee(rows, LABELS, ())
    other, _ = grafted("bert")
    other.load_state_dict(trainee.state_dict())
    trainee.eval(), other.eval()
    one, two = trainee(rows, LABELS, ()), other(rows, LABELS, ())
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_runs_in_bfloat16():
    trainee, rows = grafted("vit")
    with torch.autocast("cpu", torch.bfloat16):
        terms = trainee(rows, LABELS, ())
    assert all(torch.isfinite(value).all() for value in terms.values())
    sum(value for name, value in terms.items() if name != "logits").backward()


def test_probabilities_are_diagnostics():
    trainee, _ = grafted("convnext")
    found = trainee.loss.diagnostics()
    assert found["path/depth of stage 2/3"] == found["path/width of stage 1/4"] == 0.5
    assert found["path_entropy"] == pytest.approx(1.0)
    assert trainee.loss.settings()["kl_direction"] == "from_branch"


@pytest.mark.parametrize(
    ("pool", "family", "said"),
    [
        ("resnet", "vit", "`model` has sequences between its stages, but students of the family 'resnet' have maps."),
        ("vit", "convnext", "`model` has maps between its stages, but students of the family 'vit' have sequences."),
    ],
)
def test_a_teacher_of_another_kind_is_refused(pool, family, said):
    loss = Conditioning(POOLS[pool], teacher_stages=3)
    trainee = GenericTrainee(teacher(family), loss)
    context = LossContext(LABELS, CLASSES, trainee.outputs({"pixel_values": torch.zeros(2, 3, 16, 16)}))
    with pytest.raises(InvalidArgumentError, match=said):
        loss.setup(context)


def test_a_teacher_with_too_few_stages_is_refused():
    with pytest.raises(InvalidArgumentError, match="`model` must have at least the 3 stages of the pool, got 2."):
        Conditioning(POOLS["resnet"], teacher_stages=2)


def test_stages_of_a_deeper_teacher_are_spread():
    assert Conditioning(POOLS["vit"], teacher_stages=12).hidden == ((4, 4), (8, 8))
    assert Conditioning(POOLS["resnet"], teacher_stages=3).hidden == ((1, 1), (2, 2))


def test_stages_are_told_by_the_configuration():
    assert [stages_of(teacher(family).config) for family in ("resnet", "convnext", "vit", "bert")] == [3, 3, 3, 3]
    with pytest.raises(InvalidArgumentError, match="says neither `depths` nor `num_hidden_layers`"):
        stages_of(PreTrainedConfig())
