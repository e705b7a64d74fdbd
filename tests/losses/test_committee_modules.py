import doctest

import torch

import hf_ctkd.losses.committee_modules
from hf_ctkd.losses.committee_modules import (
    EMBEDDING,
    QUESTION,
    Answers,
    Importance,
    Linear,
    Questions,
    most_important,
    normalised,
)
from hf_ctkd.probes.ensemble import weighted_mean
from hf_ctkd.types import ModelOutputs


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_doctests():
    assert doctest.testmod(hf_ctkd.losses.committee_modules).failed == 0


def test_outputs_of_a_linear_layer_have_the_size_of_its_inputs_however_many():
    values = torch.randn(500, 400, generator=generator())
    layer = Linear(400, 300, generator(1))
    assert 0.9 < layer.weight.var().item() < 1.1
    assert 0.9 < layer(values).var().item() < 1.1
    assert Linear(3, 2, generator(), bias=False).bias is None


def test_importance_starts_close_to_its_prior_and_is_it_where_it_is_not_learned():
    prior = torch.tensor([0.7, 0.2, 0.1])
    features, embeddings = torch.randn(50, 8, generator=generator()), torch.randn(3, EMBEDDING, generator=generator())
    fixed = Importance(8, prior, learned=False, generator=generator())
    assert torch.equal(fixed(features, embeddings), prior.expand(50, 3))
    learned = Importance(8, prior, learned=True, generator=generator())(features, embeddings)
    torch.testing.assert_close(learned.sum(1), torch.ones(50))
    assert 0 < (learned - prior).abs().max().item() < 0.15


def test_importance_leaves_the_student_alone_and_trains_both_factors():
    features = torch.randn(20, 8, generator=generator(), requires_grad=True)
    embeddings = torch.randn(2, EMBEDDING, generator=generator(), requires_grad=True)
    importance = Importance(8, torch.tensor([0.5, 0.5]), learned=True, generator=generator())
    importance(features, embeddings)[:, 0].mean().backward()
    assert features.grad is None
    assert embeddings.grad.any() and importance.project.weight.grad.any()


def test_most_important_teachers_of_each_row():
    importance = torch.tensor([[0.5, 0.3, 0.2], [0.34, 0.33, 0.33], [0.05, 0.05, 0.9]])
    assert most_important(importance, threshold=0.0, top_k=2).tolist() == [
        [True, True, False],
        [True, True, False],
        [True, False, True],
    ]
    assert most_important(importance, threshold=0.95, top_k=None).tolist() == [
        [True, False, False],
        [True, False, False],
        [False, False, True],
    ]
    assert most_important(importance, threshold=0.25, top_k=2).tolist() == [
        [True, True, False],
        [True, True, False],
        [False, False, True],
    ]
    assert most_important(importance, threshold=0.0, top_k=5).all()


def test_questions_differ_by_teacher_and_row_and_leave_the_student_alone():
    features = torch.randn(6, 8, generator=generator(), requires_grad=True)
    first, second = torch.randn(2, EMBEDDING, generator=generator())
    questions = Questions(8, generator(1))
    one, two = questions(features, first), questions(features, second)
    assert one.shape == (6, QUESTION)
    assert not torch.allclose(one, two) and not torch.allclose(one[0], one[1])
    one.sum().backward()
    assert features.grad is None


def test_answers_read_every_view_at_its_own_scale():
    rows = torch.randn(40, 3, generator=generator())
    outputs = ModelOutputs(rows, layers=(1000 * rows + 5,))
    answers = Answers(outputs, 7, with_question=False, generator=generator(1))
    found = answers(outputs, None)
    assert found.shape == (40, 7)
    seen = []
    answers.network.register_forward_pre_hook(lambda module, entered: seen.append(entered[0]))
    answers(outputs, None)
    torch.testing.assert_close(seen[0][:, :3], seen[0][:, 3:], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(answers(outputs.select(torch.tensor([3])), None), found[3:4])
    assert answers(outputs.select(torch.arange(0)), None).shape == (0, 7)


def test_answers_depend_on_the_question():
    outputs = ModelOutputs(torch.randn(5, 3, generator=generator()))
    answers = Answers(outputs, 4, with_question=True, generator=generator(1))
    assert not torch.allclose(answers(outputs, torch.zeros(5, QUESTION)), answers(outputs, torch.ones(5, QUESTION)))


def test_mixed_answers_are_weighted_over_those_that_were_asked():
    first, second = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[10.0], [20.0], [30.0]])
    weights = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.25, 0.75]])
    assert weighted_mean([first, second], weights, None)[:, 0].tolist() == [5.5, 2.0, 23.25]
    chosen = torch.tensor([[True, True], [True, False], [False, True]])
    found = weighted_mean([first[:2], second[[0, 2]]], weights, chosen)
    assert found[:, 0].tolist() == [5.5, 2.0, 22.5]


def test_normalised_rows_have_no_scale_of_their_own():
    rows = torch.randn(4, 6, generator=generator(), requires_grad=True)
    found = normalised(rows)
    assert not found.requires_grad
    torch.testing.assert_close(found, normalised(100 * rows + 7), rtol=1e-3, atol=1e-3)
