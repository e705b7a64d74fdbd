"""Teachers whose outputs tell a given amount of the true classes, and losses evaluated on them."""

import torch
import torch.nn.functional as F

from hf_ctkd.losses import LossContext
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs

SPACE = LabelSpace(("cat", "dog", "owl", "carp"))


def make_teacher(truth, signal, width=8):
    """Features and predictions with a given signal of the truth, none at 0."""
    one_hot = F.one_hot(truth, len(SPACE)).float()
    features = torch.randn(len(truth), width)
    features[:, : len(SPACE)] += signal * one_hot
    return ModelOutputs(features, torch.randn(len(truth), len(SPACE)) + signal * one_hot)


def make_context(truth, labelled, *teachers, input_signal=0.0):
    """Teachers over all rows; the first `labelled` rows have their label."""
    labels = torch.where(torch.arange(len(truth)) < labelled, truth, UNLABELLED)
    inputs = torch.randn(len(truth), 8)
    inputs[:, : len(SPACE)] += input_signal * F.one_hot(truth, len(SPACE))
    student = ModelOutputs(torch.randn(len(truth), 3), torch.randn(len(truth), len(SPACE)), inputs=inputs)
    return LossContext(labels, SPACE, student, teachers, (SPACE,) * len(teachers), inputs=ModelOutputs(inputs))


def terms_of(loss, context, logits):
    """Set up a loss and evaluate it on all rows, for a student with given logits."""
    loss.setup(context)
    student = ModelOutputs(context.student.features, logits, inputs=context.inputs.features)
    return loss(student, context.teachers, context.labels)
