from dataclasses import replace

import pytest
import torch
from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel, ResNetConfig, ResNetModel

from benchmarks.evidence.interactive import InteractiveCommittee, layers_of
from hf_ctkd.teachers import FeatureReader
from hf_ctkd.testing import LossCase

SIZES = {"vocab_size": 30, "max_position_embeddings": 12}
BERT = BertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8, **SIZES)
DISTILBERT = DistilBertConfig(dim=6, n_layers=1, n_heads=2, hidden_dim=8, **SIZES)


@pytest.fixture
def committee():
    """Two frozen encoders, what they say of the rows of a case, and a loss that is set up on them."""
    torch.manual_seed(0)
    teachers = [BertModel(BERT).eval().requires_grad_(False), DistilBertModel(DISTILBERT).eval().requires_grad_(False)]
    ids = torch.randint(1, 30, (96, 7))
    rows = {"input_ids": ids, "attention_mask": (torch.arange(7) < torch.randint(3, 8, (96, 1))).long()}
    said = tuple(FeatureReader(one).read(rows, (0,), layers=True) for one in teachers)
    case = LossCase.of()
    first = torch.arange(48)
    case = replace(
        case, context=replace(case.context, teachers=said), teachers=tuple(one.select(first) for one in said)
    )
    loss = InteractiveCommittee(teachers)
    loss.setup(case.context)
    return teachers, case, loss


def test_a_question_changes_what_teachers_say_and_is_learned_through_their_layers(committee):
    teachers, case, loss = committee
    answers = loss._answers(case.student.features, case.teachers, None)
    other = loss._answers(-case.student.features, case.teachers, None)
    assert all((one - two).abs().max() > 1e-3 for one, two in zip(answers, other, strict=True))
    sum(case.terms(loss).values()).backward()
    assert all(member.token.weight.grad.abs().max() > 0 for member in loss.members)
    assert all(parameter.grad is not None for parameter in loss.questions.parameters())
    assert all(parameter.grad is None for teacher in teachers for parameter in teacher.parameters())


def test_teachers_are_no_part_of_what_is_trained(committee):
    teachers, _, loss = committee
    theirs = {id(parameter) for teacher in teachers for parameter in teacher.parameters()}
    assert not theirs & {id(parameter) for parameter in loss.parameters()}


def test_padding_is_not_read(committee):
    _, case, loss = committee
    first = case.teachers[0]
    state = first.hidden[0]
    spoilt = torch.where(state.mask[..., None], state.values, torch.full_like(state.values, 5.0))
    changed = (replace(first, hidden=(replace(state, values=spoilt),)), case.teachers[1])
    wanted, found = (loss._answers(case.student.features, one, None)[0] for one in (case.teachers, changed))
    torch.testing.assert_close(found, wanted)


def test_models_without_known_layers_are_refused():
    model = ResNetModel(ResNetConfig(embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic"))
    with pytest.raises(ValueError, match="ResNetModel has no layers that are known"):
        layers_of(model)
