"""A trainable distribution over the paths of a pool, and what tells it which paths to prefer."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hf_ctkd.generic.member import PoolMember
from hf_ctkd.generic.pool import StudentPool

_SMALLEST = 1e-20


@dataclass(frozen=True, eq=False)
class Draw:
    """One path drawn from the distribution.

    Args:
        member: the student at its end.
        weight: a scalar through whose gradient the expected loss of a path depends on the logits of the distribution:
            multiply it with the loss of this path.
    """

    member: PoolMember
    weight: Float[Tensor, ""]


Estimator = Callable[[Float[Tensor, " options"], Float[Tensor, " options"], int, float], Float[Tensor, ""]]
"""From logits, Gumbel noise, the option taken and a temperature to the gate of one decision."""


def _straight_through(logits: Tensor, noise: Tensor, taken: int, temperature: float) -> Tensor:
    return ((logits + noise) / temperature).softmax(0)[taken]


def _score_function(logits: Tensor, noise: Tensor, taken: int, temperature: float) -> Tensor:
    return logits.log_softmax(0)[taken]


ESTIMATORS: dict[str, Estimator] = {"gumbel": _straight_through, "categorical": _score_function}
"""Trained samplers by name. They draw alike and differ in how they are trained: through the relaxed gates of the drawn
path (Jang et al., arXiv:1611.01144), or by the score function (Williams, 1992). "uniform" is not trained."""


class PathDistribution(nn.Module):
    """Independent choices, `softmax(logits)` for each decision of a pool; uniform at first.

    The depth of the first stage stays so: branches begin behind that stage, and have no part of it but its width.

    Args:
        pool: the students.
        sampler: "gumbel", "categorical" or "uniform"; see `ESTIMATORS`.
        temperature: of the relaxation of "gumbel", positive.
    """

    def __init__(self, pool: StudentPool, *, sampler: str = "gumbel", temperature: float = 1.0) -> None:
        super().__init__()
        self.pool = pool
        self.sampler = sampler
        self.temperature = temperature
        self.logits = nn.ParameterList(
            nn.Parameter(torch.zeros(len(decision.options)), requires_grad=sampler != "uniform" and place > 0)
            for place, decision in enumerate(pool.decisions)
        )

    def draw(self, seed: int) -> Draw:
        """One path.

        Args:
            seed: of the draw; the same seed and logits give the same path, on every device and process.
        """
        generator = torch.Generator().manual_seed(seed)
        path, gates = [], []
        for logits in self.logits:
            uniform = torch.rand(len(logits), generator=generator).clamp_min(_SMALLEST)
            noise = -(-uniform.log()).clamp_min(_SMALLEST).log().to(logits.device)
            taken = int((logits.detach() + noise).argmax())
            path.append(taken)
            if logits.requires_grad:
                gates.append(ESTIMATORS[self.sampler](logits, noise, taken, self.temperature))
        weight = torch.stack(gates).sum() if gates else self.logits[0].detach().new_zeros(())
        return Draw(PoolMember(self.pool, tuple(path)), weight)

    def probabilities(self) -> dict[str, tuple[float, ...]]:
        """By name of the decision, in the order of its options."""
        return {
            decision.name: tuple(logits.detach().softmax(0).tolist())
            for decision, logits in zip(self.pool.decisions, self.logits, strict=True)
        }

    def entropy(self) -> Float[Tensor, ""]:
        """Of the path as a whole, in nats: the sum over decisions."""
        return torch.stack([_entropy(logits) for logits in self.logits]).sum()

    @property
    def largest_entropy(self) -> float:
        """That of the uniform distribution."""
        return math.log(len(self.pool))


def _entropy(logits: Tensor) -> Tensor:
    return -(F.softmax(logits, 0) * F.log_softmax(logits, 0)).sum()
