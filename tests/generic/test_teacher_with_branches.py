import torch
from pools import POOLS, rows_of, teacher

from hf_ctkd.generic.conditioning import Conditioning
from hf_ctkd.generic.teacher_with_branches import TeacherWithBranches
from hf_ctkd.training import StudentWithLoss


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


def test_without_branches_it_is_any_trainee():
    model, rows = teacher("resnet").eval(), rows_of(POOLS["resnet"])
    one, two = (
        kind(model).eval()(rows, torch.tensor([0, 1, 2, 0, 1])) for kind in (TeacherWithBranches, StudentWithLoss)
    )
    assert all(torch.equal(one[name], two[name]) for name in one)
