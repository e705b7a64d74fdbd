import torch

from benchmarks.evidence.controls import SelfTrainingLoss
from hf_ctkd.losses import LossContext
from hf_ctkd.types import LabelSpace, ModelOutputs


def _context(logits, labels):
    return LossContext(
        labels, LabelSpace(("a", "b")), ModelOutputs(logits), (ModelOutputs(logits, logits),), (LabelSpace(("a", "b")),)
    )


def test_self_training_pulls_towards_what_the_earlier_student_says():
    said = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    loss = SelfTrainingLoss(transported=False)
    loss.setup(_context(said, torch.tensor([0, 1])))
    same = loss(ModelOutputs(said, said), (ModelOutputs(said, said),), torch.tensor([0, 1]))
    assert float(same["self_training"]) == 0.0
    other = torch.zeros(2, 2, requires_grad=True)
    loss(ModelOutputs(other, other), (ModelOutputs(said, said),), torch.tensor([0, 1]))["self_training"].backward()
    assert bool((other.grad.sign() == torch.tensor([[-1.0, 1.0], [1.0, -1.0]])).all())


def test_transport_moves_targets_towards_the_class_shares_of_the_labels():
    generator = torch.Generator().manual_seed(0)
    said = torch.randn(200, 2, generator=generator) + torch.tensor([1.0, 0.0])  # leans to the first class
    labels = torch.full((200,), -100)
    labels[:100] = torch.arange(100) % 2  # which is no more frequent than the second
    context = _context(said, labels)
    loss = SelfTrainingLoss(transported=True)
    loss.setup(context)
    student = torch.zeros(200, 2, requires_grad=True)
    loss(ModelOutputs(student, student), context.teachers, labels)["self_training"].backward()
    share = float((0.5 - 200 * student.grad[:, 0]).mean())  # mean target of the first class
    sharpened = float((said.log_softmax(1) / loss.epsilon).softmax(1)[:, 0].mean())
    assert sharpened > 0.75
    assert 0.5 < share < 0.5 + 0.8 * (sharpened - 0.5)
