"""The networks of a committee: the importance of each teacher, the question to it, and its answer."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hf_ctkd.probes import gain_shares, views
from hf_ctkd.probes.ensemble import GAIN_EXPONENT
from hf_ctkd.types import ModelOutputs

EMBEDDING = 16
"""Width of a teacher's embedding, and of the student's projection onto it."""
QUESTION = 8
"""Width of a question: narrow, or the student's features would pass through it and come back as the answer."""
_LEAST_IMPORTANCE = 1e-3
"""Importance that a teacher without information gain starts with, or it could never be selected."""
HIDDEN = 64
"""Hidden width of the networks that ask and answer."""


class Linear(nn.Linear):
    """A linear layer whose weights are divided by the root of its inputs' number when they are used, not when drawn.

    The committee shares the student's optimiser. A step of Adam moves every weight alike, which in a layer of several
    hundred inputs would throw its outputs about at a learning rate that suits a small student.

    Args:
        inputs: number of inputs.
        outputs: number of outputs.
        generator: of the initial weights, of variance one.
        bias: whether it has a bias, zero at first.
    """

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator, *, bias: bool = True) -> None:
        super().__init__(inputs, outputs, bias=bias)
        nn.init.normal_(self.weight, generator=generator)
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, values: Float[Tensor, "rows inputs"]) -> Float[Tensor, "rows outputs"]:
        """The outputs for some rows, which may be none."""
        scale = self.in_features**-0.5
        if self.bias is None:
            return F.linear(values, self.weight) * scale
        return torch.addmm(self.bias, values, self.weight.T, alpha=scale)


class Importance(nn.Module):
    """Importance of each teacher for each row, from the student alone: `softmax(log prior + W h . E)`.

    It starts close to the prior. No gradient reaches the student's features from here, or a student could make itself
    easy to answer instead of learning the answer.

    Args:
        width: of the student's features.
        prior: `[teachers]`, importance before anything is learned, each positive, summing to one.
        learned: whether to learn it at all; else it is the prior for every row.
        generator: of the initial weights.
    """

    prior: Tensor

    def __init__(
        self, width: int, prior: Float[Tensor, " teachers"], *, learned: bool, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.register_buffer("prior", prior.clone())
        self.project: Linear | None = None
        if learned:
            self.project = Linear(width, EMBEDDING, generator, bias=False)
            with torch.no_grad():
                self.project.weight.mul_(0.1)  # not zero, or the embeddings would have no gradient from here

    def forward(
        self, features: Float[Tensor, "batch width"], embeddings: Float[Tensor, "teachers embedding"] | None
    ) -> Float[Tensor, "batch teachers"]:
        """Importances, summing to one over teachers."""
        if self.project is None or embeddings is None:
            return self.prior.expand(len(features), -1)
        # By the width and not its root: importances are to move slowly, or a few labels decide whom to believe.
        score = self.project(normalised(features)) @ embeddings.T / EMBEDDING
        return (self.prior.log() + score).softmax(dim=1)


def starting_importances(information_gains: Float[Tensor, " teachers"]) -> Float[Tensor, " teachers"]:
    """Where importances start: the teachers' shares in a log-mean, with a minimum so that each can be selected.

    Args:
        information_gains: of each teacher, see `ProbeEnsemble.teacher_information_gains`.
    """
    shares = gain_shares(information_gains, GAIN_EXPONENT) + _LEAST_IMPORTANCE
    return shares / shares.sum()


def most_important(
    importance: Float[Tensor, "batch teachers"], *, threshold: float, top_k: int | None
) -> Bool[Tensor, "batch teachers"]:
    """Which teachers are asked about a row: the `top_k` most important of at least `threshold`, the first in any case.

    Args:
        importance: summing to one over teachers.
        threshold: least importance.
        top_k: most teachers a row; None for no limit.

    Example:
        >>> most_important(torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]]), threshold=0.25, top_k=None)
        tensor([[ True,  True, False],
                [False, False,  True]])
    """
    order = importance.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    selected = importance >= threshold
    if top_k is not None:
        selected &= rank < top_k
    return selected | (rank == 0)


class Questions(nn.Module):
    """One question a row and teacher, out of the student's features and the teacher's embedding.

    Args:
        width: of the student's features.
        generator: of the initial weights.
    """

    def __init__(self, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.network = nn.Sequential(
            Linear(width + EMBEDDING, HIDDEN, generator), nn.GELU(), Linear(HIDDEN, QUESTION, generator)
        )

    def forward(
        self, features: Float[Tensor, "rows width"], embedding: Float[Tensor, " embedding"]
    ) -> Float[Tensor, "rows question"]:
        """Questions to one teacher."""
        return self.network(torch.cat([normalised(features), embedding.expand(len(features), -1)], dim=1))


class Answers(nn.Module):
    """One teacher's answers in the student's space, out of the question and all that the teacher's layers hold.

    Every view of the teacher (its pooled layers where they were asked for, and what its head reads) is standardised
    with the means and scales of the rows that it is set up with, so that an answer depends on its own row alone.

    Args:
        outputs: of the teacher on some rows.
        width: of the student's features.
        with_question: whether a question comes with each row.
        generator: of the initial weights.
    """

    rate: Tensor
    offset: Tensor

    def __init__(self, outputs: ModelOutputs, width: int, *, with_question: bool, generator: torch.Generator) -> None:
        super().__init__()
        standards = [_standard(view.float()) for view in views(outputs)]
        self.register_buffer("rate", torch.cat([1 / scale for _, scale in standards]))
        self.register_buffer("offset", torch.cat([-mean / scale for mean, scale in standards]))
        source = len(self.rate) + (QUESTION if with_question else 0)
        self.network = nn.Sequential(Linear(source, HIDDEN, generator), nn.GELU(), Linear(HIDDEN, width, generator))

    def forward(
        self, outputs: ModelOutputs, question: Float[Tensor, "rows question"] | None
    ) -> Float[Tensor, "rows width"]:
        """Answers on the rows of the outputs, which may be none."""
        features = self.standardised(outputs)
        return self.network(features if question is None else torch.cat([question, features], dim=1))

    def standardised(self, outputs: ModelOutputs) -> Float[Tensor, "rows width_of_all_views"]:
        """All views of the teacher, standardised, without gradient."""
        features = torch.cat([view.detach().float() for view in views(outputs)], dim=1)
        return torch.addcmul(self.offset, features, self.rate)


def relative_distance(
    features: Float[Tensor, "rows width"], answer: Float[Tensor, "rows width"]
) -> Float[Tensor, " rows"]:
    """Squared distance over the squared lengths of both: in [0, 2], and the same at every scale."""
    lengths = features.square().sum(dim=1) + answer.square().sum(dim=1)
    return (features - answer).square().sum(dim=1) / lengths.clamp_min(1e-12)


def normalised(features: Float[Tensor, "rows width"]) -> Float[Tensor, "rows width"]:
    """Student features as an input of the committee: without gradient, each row with mean zero and variance one."""
    return F.layer_norm(features.detach().float(), features.shape[1:], eps=1e-12)


def _standard(view: Float[Tensor, "rows width"]) -> tuple[Tensor, Tensor]:
    mean = view.mean(dim=0)
    spread = (view - mean).square().mean(dim=0)
    # A feature that hardly varies is scaled by the typical spread, or it would be blown up to pure noise.
    return mean, (spread + 0.01 * spread.mean() + 1e-12).sqrt()
