"""A committee of teachers: each member is chosen for what it adds to the members chosen before it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes import LinearProbe, fit_layers, gain_shares, information_gain_of, log_mean
from hf_ctkd.records import TeacherCandidate, TeacherRanking
from hf_ctkd.teachers import finite_rows_of
from hf_ctkd.teachers.output_checks import MOST_NOT_FINITE
from hf_ctkd.types import ModelOutputs

logger = logging.getLogger(__name__)

GAIN_EXPONENT = 4.0
"""Exponent of a member's information gain in its share, as in the losses that learn from several teachers."""


@dataclass(frozen=True)
class Committee:
    """Teachers that were chosen to teach together.

    Args:
        members: in the order in which they were chosen; the first is the best alone.
        information_gains: of the committee after each member: the share of the label entropy that its cross-fitted
            probes explain, at most 1.
        ranking: of all candidates, each scored alone.

    Example:
        >>> committee = TeacherSelector().select_committee(candidates, flowers["train"], k=3)  # doctest: +SKIP
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student, teachers=committee.members, loss=CommitteeLoss(), train_dataset=flowers["train"]
        ... )
    """

    members: tuple[TeacherCandidate, ...]
    information_gains: tuple[float, ...]
    ranking: TeacherRanking

    def with_roles(self, roles: Sequence[str]) -> "Committee":
        """The same with a role for each member, such as "foundation" or "complementary"; the card shows it.

        Args:
            roles: one for each member, in their order.

        Raises:
            InvalidArgumentError: if their numbers differ.
        """
        if len(roles) != len(self.members):
            raise InvalidArgumentError(
                f"`roles` must hold one role for each of {len(self.members)} members, got {len(roles)}."
            )
        named = (replace(member, role=role) for member, role in zip(self.members, roles, strict=True))
        return replace(self, members=tuple(named))

    def __str__(self) -> str:
        """One line for each member, with the information gain of the committee up to it."""
        pairs = zip(self.members, self.information_gains, strict=True)
        return "\n".join(f"{gain:.3f}  with {member.name}" for member, gain in pairs)


@dataclass(frozen=True, eq=False)
class TeacherPosterior:
    """Predictions of one teacher's probes for labelled rows, each row predicted by probes that were not fitted on it.

    Args:
        log_posterior: `[rows, classes]`, normalised log-mean over the probes of its layers; NaN where `finite` is not.
        information_gain: share of the label entropy that it explains alone, clipped at 0.
        mean_prior_log_likelihood: of the labels under the class shares alone, in nats, a mean over the finite rows.
        finite: `[rows]`, which rows its outputs are finite for; it is fitted and judged on these alone.
    """

    log_posterior: Float[Tensor, "rows classes"]
    information_gain: float
    mean_prior_log_likelihood: float
    finite: Bool[Tensor, " rows"]

    @classmethod
    def fit(cls, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> "TeacherPosterior":
        """Fit probes to a teacher's outputs on labelled rows.

        Args:
            outputs: over the rows, all NaN for a row that has no finite ones.
            labels: class ids of the rows.

        Raises:
            DatasetError: if a class has a single row.
            InvalidArgumentError: if some, but not all outputs of a row are finite.
        """
        finite, n_classes = finite_rows_of(outputs), int(labels.max()) + 1
        probe = fit_layers(
            LinearProbe(), outputs.select(finite), labels[finite], n_classes, gain_exponent=GAIN_EXPONENT
        )
        log_posterior = torch.full((len(labels), n_classes), torch.nan, dtype=probe.crossfit_log_posterior.dtype)
        log_posterior[finite] = probe.crossfit_log_posterior
        mean_prior_log_likelihood = probe.probes[0].prior_log_likelihood / int(finite.sum())
        return cls(log_posterior, max(probe.information_gain, 0.0), mean_prior_log_likelihood, finite)


def class_with_too_few_rows(labels: Int[Tensor, " rows"], finite: Bool[Tensor, " rows"]) -> int | None:
    """The first class with fewer finite rows than the two that cross-fitting needs; None if there is none.

    Args:
        labels: class ids of all rows.
        finite: rows with finite outputs; the others are left out.
    """
    n_classes = int(labels.max()) + 1
    before, left = (torch.bincount(of, minlength=n_classes) for of in (labels, labels[finite]))
    short = ((before > 0) & (left < 2)).nonzero()[:, 0]
    return int(short[0]) if len(short) else None


def choose_members(
    posteriors: Sequence[TeacherPosterior], labels: Int[Tensor, " rows"], k: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """At most `k` members, greedily: each is the one with which the committee predicts the labels best.

    Each candidate is judged together with the members chosen before it. So a teacher that repeats what a member
    predicts comes after a weaker one that predicts something else. The choice ends when no candidate improves the
    committee.

    Candidates are compared on the rows for which all of them have finite outputs, as a committee teaches these alone. A
    candidate that would leave too few such rows is left out. A warning in the log counts both.

    Args:
        posteriors: of each candidate on all rows, best first.
        labels: class ids of these rows.
        k: most members, at least 1.

    Returns:
        Indices of the members, and the information gain of the committee after each.
    """
    comparable, rows = _comparable(posteriors, labels)
    members: list[int] = []
    gains: list[float] = []
    while len(members) < min(k, len(comparable)):
        candidates = [index for index in comparable if index not in members]
        committees = [[posteriors[index] for index in (*members, candidate)] for candidate in candidates]
        reached = [_information_gain(committee, labels, rows) for committee in committees]
        best = max(range(len(candidates)), key=lambda index: reached[index])
        if gains and reached[best] <= gains[-1]:
            break
        members.append(candidates[best])
        gains.append(reached[best])
    return tuple(members), tuple(gains)


def _comparable(
    posteriors: Sequence[TeacherPosterior], labels: Int[Tensor, " rows"]
) -> tuple[list[int], Bool[Tensor, " rows"]]:
    """The candidates that are compared, and on which rows."""
    comparable: list[int] = []
    common = torch.ones(len(labels), dtype=torch.bool)
    for index, posterior in enumerate(posteriors):
        both = common & posterior.finite
        too_few = both.sum() < (1 - MOST_NOT_FINITE) * len(labels)
        if not too_few and class_with_too_few_rows(labels, both) is None:
            comparable.append(index)
            common = both
    if not common.all() or len(comparable) < len(posteriors):
        logger.warning(
            "The committee is chosen on %d of %d rows, for which the outputs of all candidates are finite; %d "
            "candidates are left out, as too few rows would be left with them.",
            int(common.sum()),
            len(labels),
            len(posteriors) - len(comparable),
        )
    return comparable, common


def _information_gain(
    members: Sequence[TeacherPosterior], labels: Int[Tensor, " rows"], rows: Bool[Tensor, " rows"]
) -> float:
    shares = gain_shares(torch.tensor([member.information_gain for member in members]), GAIN_EXPONENT)
    log_posterior = log_mean(shares, [member.log_posterior[rows] for member in members])
    prior_log_likelihood = members[0].mean_prior_log_likelihood * int(rows.sum())
    return information_gain_of(log_posterior, labels[rows], prior_log_likelihood)
