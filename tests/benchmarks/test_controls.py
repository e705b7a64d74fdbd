import torch
import torch.nn.functional as F
from tiny_suite import build

from benchmarks.evidence.controls import SelfTrainingLoss, raw_input_teacher, token_counts
from hf_ctkd.demo.students import build_student
from hf_ctkd.demo.tasks import build_task
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


def test_raw_pixels_are_the_students_own():
    task = build_task("digits", labels=50, seed=0)
    _, processor = build_student(task)
    teacher = raw_input_teacher(task, processor, name="digits")
    images = task.labelled["image"][:3]
    features = teacher.outputs(teacher.collate(images), layers=True).features
    assert torch.equal(features, processor(images=images, return_tensors="pt")["pixel_values"].flatten(1))
    assert teacher.label_space is None


def test_words_are_counted_without_padding_and_weighted_by_rarity():
    counts = token_counts(torch.tensor([[1, 1, 2, 0]]), torch.tensor([[1, 1, 1, 0]]), 4)
    assert counts.tolist() == [[0, 2, 1, 0]]
    task = build(labels=8, seed=0)
    _, tokenizer = build_student(task)
    teacher = raw_input_teacher(task, tokenizer, name="tiny")
    one, both = (teacher.collate(texts) for texts in (["solve"], ["solve", "filter the signal number"]))
    alone, beside = (teacher.outputs(batch, layers=True).features for batch in (one, both))
    assert torch.allclose(alone[0], beside[0])
    assert torch.allclose(beside.norm(dim=1), torch.ones(2))
    rare, usual = (tokenizer.convert_tokens_to_ids(token) for token in ("filter", "the"))
    assert beside[1, rare] > beside[1, usual]
    assert F.cosine_similarity(beside[:1], beside[1:]) < 0.5
