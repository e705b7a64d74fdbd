import pytest
import torch
import torch.nn.functional as F
from pools import CLASSES, POOLS, TEXT_CLASSES, rows_of, teacher
from transformers import PreTrainedConfig

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic import BranchSettings, Conditioning
from hf_ctkd.generic.conditioning import TeacherWithBranches, stages_of
from hf_ctkd.losses import LossContext
from hf_ctkd.training import StudentWithLoss
from hf_ctkd.types import UNLABELLED

LABELS = torch.tensor([0, 1, 1, 0, 1])


def grafted(name, labels=LABELS, times_read=None, **settings):
    """A teacher with its branches, and rows for it."""
    pool = POOLS[name]
    classes = TEXT_CLASSES if name == "bert" else CLASSES
    model = teacher(pool.family, classes)
    loss = Conditioning(pool, BranchSettings(**settings), teacher_stages=stages_of(model.config))
    student_with_loss, rows = TeacherWithBranches(model, loss), rows_of(pool, len(labels))
    with torch.no_grad():
        outputs = student_with_loss.outputs(rows)
        loss.setup(LossContext(labels, classes, outputs, seed=4, times_read=times_read))
    return student_with_loss.train(), rows


@pytest.mark.parametrize("name", POOLS)
def test_gradients_reach_teacher_supernet_adapters_and_paths(name):
    student_with_loss, rows = grafted(name)
    terms = student_with_loss(rows, LABELS, ())
    assert set(terms) == {"logits", "task_loss", "branch_ce", "branch_kl", "architecture_loss", "entropy_loss"}
    assert all(torch.isfinite(value).all() for value in terms.values())
    (terms["branch_ce"] + terms["branch_kl"]).backward(retain_graph=True)
    first = next(student_with_loss.student.parameters())
    assert first.grad.abs().sum() > 0, "no stop-gradient on the teacher"
    assert all(adapter.weight.grad.abs().sum() > 0 for adapter in student_with_loss.loss.adapters)
    assert sum(one.grad.abs().sum() for one in student_with_loss.loss.supernet.parameters() if one.grad is not None) > 0
    assert all(logits.grad is None for logits in student_with_loss.loss.paths.logits)
    student_with_loss.zero_grad()
    terms["architecture_loss"].backward()
    assert first.grad is None or not first.grad.any(), "the architecture loss moves the paths alone"
    trained = [
        logits.grad for logits in student_with_loss.loss.paths.logits if logits.requires_grad and len(logits) > 1
    ]
    assert trained and all(gradient.abs().sum() > 0 for gradient in trained)


@pytest.mark.parametrize(("direction", "swapped"), [("from_branch", False), ("from_teacher", True)])
def test_terms_are_the_means_over_branches_and_paths(direction, swapped):
    student_with_loss, rows = grafted(
        "vit", paths_per_step=3, kl_direction=direction, branch_kl_weight=2.0, branch_temperature=3.0
    )
    outputs = student_with_loss.outputs(rows)
    terms = student_with_loss.loss(outputs, (), LABELS)
    ce, kl = [], []
    for place in range(3):
        member = student_with_loss.loss.paths.draw(4 * 1_000_003 + place).member
        width = member.shape.entry_width(1)
        entries = {
            boundary: type(entry)(
                entry.values @ adapter.weight[:width].T + adapter.bias[:width], entry.grid, entry.mask
            )
            for boundary, (adapter, entry) in enumerate(
                zip(student_with_loss.loss.adapters, outputs.hidden, strict=True), 1
            )
        }
        for branch in student_with_loss.loss.supernet.tails(member, entries):
            ce.append(F.cross_entropy(branch, LABELS))
            said, heard = (one.div(3.0).log_softmax(1) for one in (outputs.logits, branch))
            target, guess = (said, heard) if swapped else (heard, said)
            kl.append(9 * F.kl_div(guess, target, reduction="batchmean", log_target=True))
    assert len(ce) == 3 * 2
    torch.testing.assert_close(terms["branch_ce"], torch.stack(ce).mean())
    torch.testing.assert_close(terms["branch_kl"], 2 * torch.stack(kl).mean())


def test_rows_without_a_label_teach_by_divergence_alone():
    labels = torch.tensor([0, UNLABELLED, 1, UNLABELLED, 1])
    student_with_loss, rows = grafted("vit", labels=labels, paths_per_step=1)
    outputs = student_with_loss.outputs(rows)
    student_with_loss.loss.drawn.zero_()
    first = student_with_loss.loss(outputs, (), labels)
    student_with_loss.loss.drawn.zero_()
    changed = outputs.logits.detach().clone()
    changed[1, 0] += 2.0
    second = student_with_loss.loss(type(outputs)(outputs.features, changed, outputs.hidden), (), labels)
    torch.testing.assert_close(first["branch_ce"], second["branch_ce"])
    assert not torch.isclose(first["branch_kl"], second["branch_kl"])


def test_the_cross_entropy_of_branches_is_a_mean_over_labelled_rows_however_often_these_are_read():
    labels = torch.tensor([0, UNLABELLED, 1, UNLABELLED, 1])
    values = []
    for times_read in (torch.tensor([1, 1, 1, 1, 1]), torch.tensor([4, 1, 4, 1, 4])):
        student_with_loss, rows = grafted("vit", labels=labels, times_read=times_read, paths_per_step=1)
        student_with_loss.eval()
        epoch = torch.arange(5).repeat_interleave(times_read)
        terms = student_with_loss.loss(student_with_loss.outputs(rows).select(epoch), (), labels[epoch])
        values.append(terms["branch_ce"])
    torch.testing.assert_close(*values)


def test_terms_add_up_over_micro_batches():
    labels = torch.tensor([0, UNLABELLED, 1, UNLABELLED, 1])
    student_with_loss, rows = grafted("vit", labels=labels, paths_per_step=1)
    outputs = student_with_loss.outputs(rows)

    def terms(part):
        student_with_loss.loss.drawn.zero_()
        return student_with_loss.loss(outputs.select(part), (), labels[part])

    whole, parts = terms(torch.arange(5)), [torch.tensor([0, 1]), torch.tensor([2, 3, 4])]
    for name in ("branch_ce", "branch_kl"):
        torch.testing.assert_close(sum(terms(part)[name] * len(part) / 5 for part in parts), whole[name])


def test_the_paths_go_where_branches_do_well_or_badly_as_told():
    for sign in (1, -1):
        student_with_loss, _ = grafted("resnet", architecture_sign=sign, entropy_weight=0.0, path_sampler="categorical")
        loss = student_with_loss.loss
        optimizer = torch.optim.SGD([one for one in loss.paths.parameters() if one.requires_grad], lr=0.2)
        # A stand-in for the branches: wide last stages do well.
        loss._conditioning = lambda draw, *_: (torch.tensor(2.0 - draw.member.path[-1]), torch.zeros(()))
        for _ in range(60):
            outputs = student_with_loss.outputs(rows_of(POOLS["resnet"]))
            optimizer.zero_grad()
            loss(outputs, (), LABELS)["architecture_loss"].backward()
            optimizer.step()
        wide = loss.paths.probabilities()["width of stage 3"][1]
        assert wide > 0.8 if sign == 1 else wide < 0.2


def test_the_entropy_term_keeps_the_paths_wide():
    student_with_loss, rows = grafted("resnet", entropy_weight=0.5)
    loss = student_with_loss.loss
    with torch.no_grad():
        loss.paths.logits[5].copy_(torch.tensor([2.0, 0.0]))
    entropy = loss.paths.entropy()
    term = loss(student_with_loss.outputs(rows), (), LABELS)["entropy_loss"]
    torch.testing.assert_close(term, -0.5 * entropy)
    gradient = torch.autograd.grad(term, loss.paths.logits[5])[0]
    assert gradient[0] > 0 > gradient[1]  # a step downhill brings the two together


def test_uniform_paths_have_no_terms_of_their_own():
    student_with_loss, rows = grafted("resnet", path_sampler="uniform")
    assert set(student_with_loss.loss(student_with_loss.outputs(rows), (), LABELS)) == {"branch_ce", "branch_kl"}
    assert student_with_loss.loss.diagnostics()["path_entropy"] == pytest.approx(1.0)


def test_draws_go_on_in_training_and_stand_still_in_evaluation():
    student_with_loss, rows = grafted("resnet")
    outputs = student_with_loss.outputs(rows)
    student_with_loss.loss(outputs, (), LABELS)
    assert int(student_with_loss.loss.drawn) == 2 and float(student_with_loss.loss.expected) > 0
    student_with_loss.eval()
    before = float(student_with_loss.loss.expected)
    student_with_loss.loss(outputs, (), LABELS)
    assert int(student_with_loss.loss.drawn) == 2 and float(student_with_loss.loss.expected) == before


def test_its_state_round_trips():
    student_with_loss, rows = grafted("bert")
    student_with_loss(rows, LABELS, ())
    other, _ = grafted("bert")
    other.load_state_dict(student_with_loss.state_dict())
    student_with_loss.eval(), other.eval()
    one, two = student_with_loss(rows, LABELS, ()), other(rows, LABELS, ())
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_it_runs_in_bfloat16():
    student_with_loss, rows = grafted("vit")
    with torch.autocast("cpu", torch.bfloat16):
        terms = student_with_loss(rows, LABELS, ())
    assert all(torch.isfinite(value).all() for value in terms.values())
    sum(value for name, value in terms.items() if name != "logits").backward()


def test_probabilities_are_diagnostics():
    student_with_loss, _ = grafted("convnext")
    found = student_with_loss.loss.diagnostics()
    assert found["path/depth of stage 2/3"] == found["path/width of stage 1/4"] == 0.5
    assert found["path_entropy"] == pytest.approx(1.0)
    assert student_with_loss.loss.settings()["kl_direction"] == "from_branch"


@pytest.mark.parametrize(
    ("pool", "family", "said"),
    [
        ("resnet", "vit", "`model` has sequences between its stages, but students of the family 'resnet' have maps."),
        ("vit", "convnext", "`model` has maps between its stages, but students of the family 'vit' have sequences."),
    ],
)
def test_a_teacher_of_another_kind_is_refused(pool, family, said):
    loss = Conditioning(POOLS[pool], teacher_stages=3)
    student_with_loss = TeacherWithBranches(teacher(family), loss)
    context = LossContext(LABELS, CLASSES, student_with_loss.outputs({"pixel_values": torch.zeros(2, 3, 16, 16)}))
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
    with pytest.raises(InvalidArgumentError, match="must have `depths` or `num_hidden_layers` in its configuration"):
        stages_of(PreTrainedConfig())


def test_hidden_states_are_whole_so_that_a_layer_can_go_on_from_them():
    model = teacher("vit").eval()
    loss = Conditioning(POOLS["vit"], teacher_stages=3)
    rows = rows_of(POOLS["vit"])
    hidden = TeacherWithBranches(model, loss).eval().outputs(rows).hidden
    assert [entry.grid for entry in hidden] == [(17,), (17,)]  # 16 patches and the class token
    rest = hidden[1].values
    for layer in model.vit.layers[2:]:
        rest = layer(rest)
    logits = model.classifier(model.vit.layernorm(rest)[:, 0])
    torch.testing.assert_close(logits, model(**rows).logits)


def test_without_branches_it_equals_a_student_with_loss():
    model, rows = teacher("resnet").eval(), rows_of(POOLS["resnet"])
    outputs, expected = (
        kind(model).eval()(rows, torch.tensor([0, 1, 2, 0, 1])) for kind in (TeacherWithBranches, StudentWithLoss)
    )
    assert all(torch.equal(outputs[name], expected[name]) for name in expected)
