"""A committee of teachers: each member is chosen for what it adds to the members chosen before it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes import LinearProbe, fit_layers, gain_shares, information_gain_of, log_mean
from hf_ctkd.records import TeacherCandidate, TeacherRanking
from hf_ctkd.types import ModelOutputs

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
        log_posterior: `[rows, classes]`, normalised log-mean over the probes of its layers.
        information_gain: share of the label entropy that it explains alone, clipped at 0.
        prior_likelihood: log-likelihood of the labels under the class shares alone.
    """

    log_posterior: Float[Tensor, "rows classes"]
    information_gain: float
    prior_likelihood: float

    @classmethod
    def fit(cls, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> "TeacherPosterior":
        """Fit probes to a teacher's outputs on labelled rows.

        Raises:
            DatasetError: if a class has a single row.
            InvalidArgumentError: if features are not finite.
        """
        probe = fit_layers(LinearProbe(), outputs, labels, int(labels.max()) + 1, gain_exponent=GAIN_EXPONENT)
        return cls(probe.crossfit, max(probe.information_gain, 0.0), probe.probes[0].prior_likelihood)


def choose_members(
    posteriors: Sequence[TeacherPosterior], labels: Int[Tensor, " rows"], k: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """At most `k` members, greedily: each is the one with which the committee predicts the labels best.

    Each candidate is judged together with the members chosen before it. So a teacher that repeats what a member
    predicts comes after a weaker one that predicts something else. The choice ends when no candidate improves the
    committee.

    Args:
        posteriors: of each candidate, on the same rows.
        labels: class ids of these rows.
        k: most members, at least 1.

    Returns:
        Indices of the members, and the information gain of the committee after each.
    """
    members: list[int] = []
    gains: list[float] = []
    while len(members) < min(k, len(posteriors)):
        candidates = [index for index in range(len(posteriors)) if index not in members]
        committees = [[posteriors[index] for index in (*members, candidate)] for candidate in candidates]
        reached = [_information_gain(committee, labels) for committee in committees]
        best = max(range(len(candidates)), key=lambda index: reached[index])
        if gains and reached[best] <= gains[-1]:
            break
        members.append(candidates[best])
        gains.append(reached[best])
    return tuple(members), tuple(gains)


def _information_gain(members: Sequence[TeacherPosterior], labels: Int[Tensor, " rows"]) -> float:
    shares = gain_shares(torch.tensor([member.information_gain for member in members]), GAIN_EXPONENT)
    log_posterior = log_mean(shares, [member.log_posterior for member in members])
    return information_gain_of(log_posterior, labels, members[0].prior_likelihood)
