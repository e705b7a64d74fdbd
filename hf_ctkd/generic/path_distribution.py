"""A trainable distribution over the paths of a pool, and the gradient estimators that train it."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hf_ctkd.generic.pool import PoolMember, StudentPool

_SMALLEST = 1e-20


@dataclass(frozen=True, eq=False)
class Draw:
    """One path drawn from the distribution.

    Args:
        member: the student that the path describes.
        weight: a scalar with a gradient to the logits of the distribution; multiplied by the path's loss, it gives the
            estimator of the gradient of the expected loss.
    """

    member: PoolMember
    weight: Float[Tensor, ""]


Estimator = Callable[[Float[Tensor, " options"], Float[Tensor, " options"], int, float], Float[Tensor, ""]]
"""From logits, Gumbel noise, the index of the drawn option and a temperature to the gate of one decision."""


def _straight_through(logits: Tensor, noise: Tensor, option: int, temperature: float) -> Tensor:
    return ((logits + noise) / temperature).softmax(0)[option]


def _score_function(logits: Tensor, noise: Tensor, option: int, temperature: float) -> Tensor:
    return logits.log_softmax(0)[option]


ESTIMATORS: dict[str, Estimator] = {"gumbel": _straight_through, "categorical": _score_function}
"""Trained samplers by name. They draw from the same distribution; "gumbel" is trained through the relaxed gates of the
drawn path (Jang et al., arXiv:1611.01144), "categorical" by the score function (Williams, 1992). "uniform" is not
trained."""


class PathDistribution(nn.Module):
    """An independent categorical distribution, `softmax(logits)`, for each decision of a pool; uniform at first.

    The depth of the first stage stays uniform: branches begin after that stage and depend only on its width.

    Args:
        pool: the students.
        sampler: "gumbel", "categorical" or "uniform"; see `ESTIMATORS`.
        temperature: of the relaxed gates of "gumbel", positive.
    """

    def __init__(self, pool: StudentPool, *, sampler: str = "gumbel", temperature: float = 1.0) -> None:
        super().__init__()
        self.pool = pool
        self.sampler = sampler
        self.temperature = temperature
        self.logits = nn.ParameterList(
            nn.Parameter(torch.zeros(len(decision.options)), requires_grad=sampler != "uniform" and index > 0)
            for index, decision in enumerate(pool.decisions)
        )

    def draw(self, seed: int) -> Draw:
        """Draw one path.

        Args:
            seed: of the draw; the same seed and logits give the same path on every device and process.
        """
        generator = torch.Generator().manual_seed(seed)
        path, gates = [], []
        for logits in self.logits:
            uniform = torch.rand(len(logits), generator=generator).clamp_min(_SMALLEST)
            noise = -(-uniform.log()).clamp_min(_SMALLEST).log().to(logits.device)
            option = int((logits.detach() + noise).argmax())  # the Gumbel-max trick: a draw from softmax(logits)
            path.append(option)
            if logits.requires_grad:
                gates.append(ESTIMATORS[self.sampler](logits, noise, option, self.temperature))
        weight = torch.stack(gates).sum() if gates else self.logits[0].detach().new_zeros(())
        return Draw(PoolMember(self.pool, tuple(path)), weight)

    def probabilities(self) -> dict[str, tuple[float, ...]]:
        """Probability of each option, by name of the decision."""
        return {
            decision.name: tuple(logits.detach().softmax(0).tolist())
            for decision, logits in zip(self.pool.decisions, self.logits, strict=True)
        }

    def entropy(self) -> Float[Tensor, ""]:
        """Entropy of the path in nats: the sum over the independent decisions."""
        return torch.stack([_entropy(logits) for logits in self.logits]).sum()

    @property
    def largest_entropy(self) -> float:
        """Entropy of the uniform distribution, in nats."""
        return math.log(len(self.pool))


def _entropy(logits: Tensor) -> Tensor:
    return -(F.softmax(logits, 0) * F.log_softmax(logits, 0)).sum()
