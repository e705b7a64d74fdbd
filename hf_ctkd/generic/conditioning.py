"""The conditioning of a teacher: branches of students from a pool, grafted on its stages while it learns."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedConfig

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.config import BranchSettings
from hf_ctkd.generic.paths import Draw, PathDistribution
from hf_ctkd.generic.pool import StudentPool
from hf_ctkd.generic.supernet import Supernet
from hf_ctkd.losses import DistillationLoss, LossContext
from hf_ctkd.types import UNLABELLED, Hidden, ModelOutputs, Needs

_MEMORY = 0.9
"""How much of the running mean of the conditioning loss stays at every step."""
_STRIDE = 1_000_003
"""Between the seeds of two runs' draws; a prime, so that small seeds do not share draws."""


class Conditioning(DistillationLoss):
    """The terms that make a teacher generic: cross-entropy of branches, their divergence from it, and the paths' own.

    Branch `i` of a path is: stage `i` of the teacher, an adapter, the supernet's stages behind it along the path, its
    head. There is no stop-gradient on the teacher: it learns to say what such students can follow. The logits of the
    paths follow the expected conditioning loss with an entropy term, and move no other weight. In
    `GenericTeacherTrainer` it stands where a student's loss stands, so that it is trained, synchronised and
    checkpointed with the teacher, and left out of what is published.

    The running mean is taken off the conditioning loss, which takes noise away. With the sampler "categorical" it takes
    no bias in. With "gumbel" it does: the gate of an option that was drawn has a gradient towards that option whatever
    its loss is, so that a mean that lags behind a falling loss favours, a little, what is drawn most.

    Args:
        pool: the students.
        settings: how branches are drawn and trained.
        teacher_stages: of the teacher, see `stages_of`; at least as many as the pool has.

    Raises:
        InvalidArgumentError: if the teacher has too few stages.

    Reference:
        Reconstructed from the abstract of Binici, Wu and Mitra, "Generic teacher network", arXiv:2407.16040, on the
        lines of its parent scheme SFTN, "Student-friendly teacher networks", arXiv:2102.07650.
    """

    name: ClassVar[str] = "generic-teacher"
    citation: ClassVar[str] = (
        "Binici, Wu, Mitra: Generic Teacher Network, arXiv:2407.16040 (reconstructed from its abstract); branches "
        "after SFTN, arXiv:2102.07650"
    )
    needs = Needs.NOTHING

    def __init__(self, pool: StudentPool, settings: BranchSettings | None = None, *, teacher_stages: int) -> None:
        super().__init__()
        self.pool = pool
        given = BranchSettings() if settings is None else settings
        self.branch = BranchSettings(**{one.name: vars(given)[one.name] for one in fields(BranchSettings)})
        self.teacher_stages = teacher_stages
        stages = len(pool.depths)
        if teacher_stages < stages:
            raise InvalidArgumentError(
                f"`model` must have at least the {stages} stages of the pool, got {teacher_stages}. Declare fewer."
            )
        places = [round(boundary * teacher_stages / stages) for boundary in range(1, stages)]
        self.hidden = tuple((place, place) for place in places)

    def setup(self, context: LossContext) -> None:
        """Make supernet, adapters and the distribution of paths.

        Raises:
            InvalidArgumentError: if the teacher's hidden states are no such as the pool's students have.
        """
        entries = context.student.hidden
        for entry in entries:
            if (len(entry.grid) == 2) != self.pool.kind.maps:
                found, wanted = ("maps", "sequences") if len(entry.grid) == 2 else ("sequences", "maps")
                raise InvalidArgumentError(
                    f"`model` has {found} between its stages, but students of the family {self.pool.family!r} have "
                    f"{wanted}. Choose a pool of the teacher's own kind."
                )
        labelled = context.labels != UNLABELLED
        self.labelled_share = float(labelled.float().mean())
        self.seed = context.seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            widest = self.pool.largest.shape
            self.adapters = nn.ModuleList(
                nn.Linear(entry.values.shape[2], widest.entry_width(boundary))
                for boundary, entry in enumerate(entries, 1)
            )
        self.supernet = Supernet(self.pool, context.label_space, seed=context.seed)
        self.paths = PathDistribution(
            self.pool, sampler=self.branch.path_sampler, temperature=self.branch.path_temperature
        )
        self.register_buffer("drawn", torch.zeros((), dtype=torch.long))
        self.register_buffer("expected", torch.zeros(()))

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """The terms `branch_ce`, `branch_kl`, `architecture_loss` and `entropy_loss`.

        Args:
            student: outputs of the teacher in training, with gradient and with the hidden states of `hidden`.
            teachers: none.
            labels: -100 for rows without one, of which the branches learn by divergence alone.
        """
        if student.logits is None:
            raise InvalidArgumentError("`model` must return logits. Load it with an AutoModelFor... class.")
        draws = [self.paths.draw(self._next_seed()) for _ in range(self.branch.paths_per_step)]
        measured = [self._conditioning(draw, student.logits, student.hidden, labels) for draw in draws]
        ce, kl = (torch.stack(values).mean() for values in zip(*measured, strict=True))
        terms = {"branch_ce": ce, "branch_kl": kl}
        if self.branch.path_sampler != "uniform":
            losses = torch.stack([(one + other).detach() for one, other in measured])
            weights = torch.stack([draw.weight for draw in draws])
            surrogate = ((losses - self._expected(losses)) * weights).mean()
            terms["architecture_loss"] = self.branch.architecture_sign * surrogate
            terms["entropy_loss"] = -self.branch.entropy_weight * self.paths.entropy()
        return terms

    def diagnostics(self) -> dict[str, float]:
        """Probability of every option, and the entropy of the paths as a share of the largest there is."""
        found = {
            f"path/{decision.name}/{option}": probability
            for decision in self.pool.decisions
            for option, probability in zip(decision.options, self.paths.probabilities()[decision.name], strict=True)
            if len(decision.options) > 1
        }
        if len(self.pool) > 1:
            found["path_entropy"] = float(self.paths.entropy().detach()) / self.paths.largest_entropy
        return found

    def settings(self) -> dict[str, Any]:
        """As JSON values; the pool has a record of its own."""
        return asdict(self.branch)

    def _conditioning(
        self, draw: Draw, teacher: Float[Tensor, "batch classes"], hidden: tuple[Hidden, ...], labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean over branches of cross-entropy and weighted divergence."""
        shape = draw.member.shape
        entries = {}
        for boundary, (adapter, entry) in enumerate(zip(self.adapters, hidden, strict=True), 1):
            width = shape.entry_width(boundary)
            # The leading channels of the adapter, as everywhere in the supernet.
            adapted = F.linear(entry.values, adapter.weight[:width], adapter.bias[:width])  # type: ignore[index]
            entries[boundary] = Hidden(adapted, entry.grid, entry.mask)
        branches = self.supernet.tails(draw.member, entries)
        with torch.autocast(teacher.device.type, enabled=False):
            said = teacher.float()
            ce = [self._cross_entropy(branch.float(), labels) for branch in branches]
            kl = [self._divergence(branch.float(), said) for branch in branches]
            return torch.stack(ce).mean(), self.branch.branch_kl_weight * torch.stack(kl).mean()

    def _cross_entropy(self, branch: Tensor, labels: Tensor) -> Tensor:
        # A mean over labelled rows in expectation, yet additive over rows: accumulation and processes change nothing.
        total = F.cross_entropy(branch, labels, reduction="sum", ignore_index=UNLABELLED)
        return total / (len(labels) * max(self.labelled_share, torch.finfo(torch.float32).eps))

    def _divergence(self, branch: Tensor, teacher: Tensor) -> Tensor:
        tau = self.branch.branch_temperature
        from_, to = (branch, teacher) if self.branch.kl_direction == "from_branch" else (teacher, branch)
        first, second = (from_ / tau).log_softmax(1), (to / tau).log_softmax(1)
        return tau**2 * (first.exp() * (first - second)).sum(1).mean()

    def _next_seed(self) -> int:
        drawn = self.get_buffer("drawn")
        seed = self.seed * _STRIDE + int(drawn)
        if self.training:
            drawn += 1
        return seed

    def _expected(self, losses: Tensor) -> Tensor:
        """The running mean before this step, which then moves on; the mean of this step at first."""
        running = self.get_buffer("expected")
        before = torch.where(running == 0, losses.mean(), running)
        if self.training:
            running.copy_(_MEMORY * before + (1 - _MEMORY) * losses.mean())
        return before


def stages_of(config: PreTrainedConfig) -> int:
    """Stages of a teacher: the entries of its `depths`, or its layers where it has no such stages.

    Raises:
        InvalidArgumentError: if its configuration has neither.
    """
    values: Mapping[str, Any] = config.to_dict()
    depths = values.get("depths")
    if isinstance(depths, list | tuple):
        return len(depths)
    layers = values.get(config.attribute_map.get("num_hidden_layers", "num_hidden_layers"))
    if not isinstance(layers, int):
        raise InvalidArgumentError(
            f"`model` {type(config).__name__} says neither `depths` nor `num_hidden_layers`, so that its stages are "
            "not known. Choose another architecture."
        )
    return layers
