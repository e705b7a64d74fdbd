"""Which teachers together: each member is chosen for what it adds to those chosen before it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.probes import LinearProbe, fit_layers, gain_shares, log_mean
from hf_ctkd.records import TeacherCandidate, TeacherRanking
from hf_ctkd.types import ModelOutputs

POWER = 4.0
"""Of a member's own gain in its share: as in the losses that learn from several teachers."""


@dataclass(frozen=True)
class Committee:
    """Teachers that were chosen to teach together.

    Args:
        members: in the order in which they were chosen, the best alone first.
        gains: of the committee after each of them: cross-fitted log-likelihood gain over the class prior, as a share
            of the prior's own.
        ranking: of all candidates, each alone.
    """

    members: tuple[TeacherCandidate, ...]
    gains: tuple[float, ...]
    ranking: TeacherRanking

    def with_roles(self, roles: Sequence[str]) -> "Committee":
        """The same with the part of each member, for the card, such as "foundation" or "complementary".

        Args:
            roles: one a member, in their order.

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
        """One line a member, with the gain of the committee up to it."""
        lines = [f"{gain:.3f}  with {one.name}" for one, gain in zip(self.members, self.gains, strict=True)]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a teacher says of labelled rows that its probes did not see.

    Args:
        log_posterior: `[rows, classes]`, the log-mean of cross-fitted probes of its layers.
        gain: its own, clipped at zero.
        prior_likelihood: log-likelihood of the labels under the class shares alone.
    """

    log_posterior: Float[Tensor, "rows classes"]
    gain: float
    prior_likelihood: float

    @classmethod
    def of(cls, outputs: ModelOutputs, labels: Int[Tensor, " rows"]) -> "Evidence":
        """From a teacher's outputs on labelled rows.

        Raises:
            DatasetError: if a class has a single row.
            InvalidArgumentError: if features are not finite.
        """
        found = fit_layers(LinearProbe(), outputs, labels, int(labels.max()) + 1, gain_exponent=POWER)
        said = log_mean(found.shares, [one.crossfit_posterior.log() for one in found.probes])
        return cls(said, max(found.information_gain, 0.0), found.probes[0].prior_likelihood)


def choose_members(
    evidence: Sequence[Evidence], labels: Int[Tensor, " rows"], k: int
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """At most `k` members, greedily: each the one with which the committee's log-mean says most of the labels.

    The next member is judged given those that were chosen, so that a second teacher which knows what the first one
    knows comes after one that knows less, but something else. Nobody is added who adds nothing.

    Args:
        evidence: of each candidate, on the same rows.
        labels: class ids of these rows.
        k: most members.

    Returns:
        Places of the members, and the gain of the committee after each.
    """
    members: list[int] = []
    gains: list[float] = []
    while len(members) < min(k, len(evidence)):
        left = [place for place in range(len(evidence)) if place not in members]
        reached = [_gain([evidence[one] for one in (*members, place)], labels) for place in left]
        best = max(range(len(left)), key=lambda number: reached[number])
        if gains and reached[best] <= gains[-1]:
            break
        members.append(left[best])
        gains.append(reached[best])
    return tuple(members), tuple(gains)


def _gain(members: Sequence[Evidence], labels: Int[Tensor, " rows"]) -> float:
    shares = gain_shares(torch.tensor([one.gain for one in members]), POWER)
    said = log_mean(shares, [one.log_posterior for one in members])
    return 1 - float(said[torch.arange(len(labels)), labels].double().sum()) / members[0].prior_likelihood
