"""No loss makes the host wait for an accelerator in a step, nor mixes what is there with what is on the host."""

from dataclasses import replace

import pytest
import torch
from registry import LOSSES
from waits import unreadable_device

from hf_ctkd.testing import LossCase

# A committee that selects rows runs each teacher on these alone, and the first phase of relationship matching trains on
# the tuples that a batch happens to hold: of both the host must know how many there are. Layers, which are never kept,
# are paired position by position only where the padding of both texts is the same.
BY_VALUE = {"CommitteeLoss, top 1", "RelationshipMatchingLoss", "ProjectionLoss of layers"}


def on(device, outputs, *, tracked=False):
    """Outputs on a device, with gradient for a student."""
    outputs = outputs.to(device)

    def leaf(tensor):
        return tensor.detach().requires_grad_() if tracked and tensor is not None else tensor

    head = torch.randn(8, 4, device=device)
    return replace(
        outputs,
        features=leaf(outputs.features),
        logits=leaf(outputs.logits),
        hidden=tuple(replace(layer, values=leaf(layer.values)) for layer in outputs.hidden),
        head=None if outputs.head is None else lambda features: features @ head,
    )


def set_up(name):
    loss = LOSSES[name]()
    case = LossCase.of(len(loss.hidden))
    loss.setup(case.context)
    return loss, case, loss.row_targets(case.context)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in BY_VALUE])
def test_a_step_runs_where_nothing_can_be_read(name, monkeypatch):
    loss, case, targets = set_up(name)
    with unreadable_device(monkeypatch) as device:
        loss.to(device)
        teachers, labels = tuple(on(device, outputs) for outputs in case.teachers), case.labels.to(device)
        terms = [loss(on(device, case.student, tracked=True), teachers, labels)]
        if targets is not None:
            student = replace(on(device, case.student, tracked=True), inputs=None)
            terms.append(loss.on_targets(student, targets[: len(labels)].to(device), labels))
        for step in terms:
            total = sum(step.values())
            total.backward()
            assert total.device.type == device


def test_a_step_that_reads_a_number_or_mixes_devices_is_noticed(monkeypatch):
    loss, case, _ = set_up("KLLoss")
    with unreadable_device(monkeypatch) as device:
        student, teachers = on(device, case.student), tuple(on(device, outputs) for outputs in case.teachers)
        with pytest.raises(RuntimeError, match="not on the expected device|same device|meta"):
            loss(student, teachers, case.labels.to(device))  # its buffers are on the CPU
        with pytest.raises(RuntimeError, match="meta tensors"):
            bool(loss.to(device)(student, teachers, case.labels.to(device))["kl"] > 0)


@pytest.mark.parametrize("epsilon", [0.1, 0.05])
def test_fixed_steps_on_an_accelerator_give_the_transport_value_of_the_cpu(epsilon):
    loss, case, _ = set_up("LabelTransportLoss" if epsilon == 0.1 else "LabelTransportLoss, sharp")
    attended = loss(case.student, case.teachers, case.labels)["label_transport"]
    loss.solver = loss._solver(torch.device("cuda"))
    assert loss.solver.check_every == loss.solver.max_steps < 100
    fixed = loss(case.student, case.teachers, case.labels)["label_transport"]
    torch.testing.assert_close(fixed, attended, rtol=1e-4, atol=0)
