"""The conditioning loss of a generic teacher: branches of students from a pool, attached to its stages."""

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
from hf_ctkd.generic.path_distribution import Draw, PathDistribution
from hf_ctkd.generic.pool import StudentPool
from hf_ctkd.generic.supernet import Supernet
from hf_ctkd.losses import DistillationLoss, LossContext
from hf_ctkd.losses.base import labelled_share_read
from hf_ctkd.training import StudentWithLoss
from hf_ctkd.types import UNLABELLED, Hidden, ModelOutputs, Needs

_BASELINE_MOMENTUM = 0.9
"""Of the running mean of the conditioning loss."""
_SEED_STRIDE = 1_000_003
"""Distance between the first draws of two runs; a prime, so that runs with small seeds share no draws."""


class Conditioning(DistillationLoss):
    """The loss that conditions a teacher on a pool: cross-entropy and divergence of branches, and terms for the paths.

    Use it through `GenericTeacherTrainer`, where it takes the place of a student's loss: it is trained, synchronised
    and checkpointed with the teacher, and not published. It is no loss for distilling a student.

    Branch `i` of a path consists of the first `i` stages of the teacher, an adapter, and the supernet's later stages
    and head along the path. There is no stop-gradient on the teacher, so it learns predictions that the students can
    match. The logits of the paths are trained on the expected conditioning loss with an entropy term, and that loss
    moves no other weight.

    The estimator subtracts a running mean from the conditioning loss to reduce its variance. With the sampler
    "categorical" this adds no bias. With "gumbel" it adds a small one: the gate of a drawn option has a gradient
    towards that option whatever its loss, so while the loss falls faster than the mean, frequent options gain.

    Args:
        pool: the students.
        settings: how branches are drawn and trained.
        teacher_stages: number of stages of the teacher, see `stages_of`; at least as many as the pool has.

    Raises:
        InvalidArgumentError: if the teacher has too few stages.

    Reference:
        Reconstructed from the paper's abstract, after its parent scheme SFTN (Park et al., "Learning student-friendly
        teacher networks for knowledge distillation", arXiv:2102.07650).

        @article{binici2024generalizing,
          title={Generalizing Teacher Networks for Effective Knowledge Distillation Across Student Architectures},
          author={Binici, Kuluhan and Wu, Weiming and Mitra, Tulika},
          journal={arXiv preprint arXiv:2407.16040},
          year={2024}
        }
    """

    name: ClassVar[str] = "generic-teacher"
    citation = (
        "Binici, Wu, Mitra: Generic Teacher Network, arXiv:2407.16040 (reconstructed from its abstract); branches "
        "after SFTN, arXiv:2102.07650"
    )
    needs = Needs.NOTHING

    def __init__(self, pool: StudentPool, settings: BranchSettings | None = None, *, teacher_stages: int) -> None:
        super().__init__()
        self.pool = pool
        settings = BranchSettings() if settings is None else settings
        # A copy of these fields alone: `settings` may be a whole `GenericTeacherConfig`.
        self.branch = BranchSettings(**{field.name: vars(settings)[field.name] for field in fields(BranchSettings)})
        self.teacher_stages = teacher_stages
        stages = len(pool.depths)
        if teacher_stages < stages:
            raise InvalidArgumentError(
                f"`model` must have at least the {stages} stages of the pool, got {teacher_stages}. "
                "Declare a pool of fewer stages."
            )
        layers = [round(boundary * teacher_stages / stages) for boundary in range(1, stages)]
        self.hidden = tuple((layer, layer) for layer in layers)

    def setup(self, context: LossContext) -> None:
        """Create the supernet, the adapters and the distribution of paths.

        Raises:
            InvalidArgumentError: if the teacher has maps between its stages and the students sequences, or vice versa.
        """
        entries = context.student.hidden
        for entry in entries:
            if (len(entry.grid) == 2) != self.pool.kind.maps:
                teacher_states, student_states = ("maps", "sequences")[:: 1 if len(entry.grid) == 2 else -1]
                raise InvalidArgumentError(
                    f"`model` has {teacher_states} between its stages, but students of the family "
                    f"{self.pool.family!r} have {student_states}. Choose a pool of the teacher's kind."
                )
        self.labelled_share = float(labelled_share_read(context))
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
        """The terms `branch_ce`, `branch_kl` and, with a trained sampler, `architecture_loss` and `entropy_loss`.

        Args:
            student: outputs of the teacher in training, with gradient and with the hidden states of `hidden`.
            teachers: not used.
            labels: class ids; -100 for unlabelled rows, which have no part in the cross-entropy.

        Raises:
            InvalidArgumentError: if the teacher has no logits.
        """
        if student.logits is None:
            raise InvalidArgumentError("`model` must return logits. Load it with an AutoModelFor... class.")
        draws = [self.paths.draw(self._next_seed()) for _ in range(self.branch.paths_per_step)]
        path_losses = [self._conditioning(draw, student.logits, student.hidden, labels) for draw in draws]
        ce, kl = (torch.stack(values).mean() for values in zip(*path_losses, strict=True))
        terms = {"branch_ce": ce, "branch_kl": kl}
        if self.branch.path_sampler != "uniform":
            losses = torch.stack([(path_ce + path_kl).detach() for path_ce, path_kl in path_losses])
            weights = torch.stack([draw.weight for draw in draws])
            surrogate = ((losses - self._baseline(losses)) * weights).mean()
            terms["architecture_loss"] = self.branch.architecture_sign * surrogate
            terms["entropy_loss"] = -self.branch.entropy_weight * self.paths.entropy()
        return terms

    def diagnostics(self) -> dict[str, float]:
        """Probability of every option, and the entropy of the paths relative to that of uniform paths."""
        values = {
            f"path/{decision.name}/{option}": probability
            for decision in self.pool.decisions
            for option, probability in zip(decision.options, self.paths.probabilities()[decision.name], strict=True)
            if len(decision.options) > 1
        }
        if len(self.pool) > 1:
            values["path_entropy"] = float(self.paths.entropy().detach()) / self.paths.largest_entropy
        return values

    def settings(self) -> dict[str, Any]:
        """The branch settings as JSON values; the record of a training holds the pool in a field of its own."""
        return asdict(self.branch)

    def _conditioning(
        self, draw: Draw, teacher: Float[Tensor, "batch classes"], hidden: tuple[Hidden, ...], labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean over branches of cross-entropy and weighted divergence."""
        shape = draw.member.shape
        entries = {}
        for boundary, (adapter, entry) in enumerate(zip(self.adapters, hidden, strict=True), 1):
            width = shape.entry_width(boundary)
            # Only the leading channels, as with every shared weight of the supernet.
            adapted = F.linear(entry.values, adapter.weight[:width], adapter.bias[:width])  # type: ignore[index]
            entries[boundary] = Hidden(adapted, entry.grid, entry.mask)
        branches = self.supernet.tails(draw.member, entries)
        with torch.autocast(teacher.device.type, enabled=False):
            teacher = teacher.float()
            ce = [self._cross_entropy(branch.float(), labels) for branch in branches]
            kl = [self._divergence(branch.float(), teacher) for branch in branches]
            return torch.stack(ce).mean(), self.branch.branch_kl_weight * torch.stack(kl).mean()

    def _cross_entropy(self, branch: Tensor, labels: Tensor) -> Tensor:
        # Divided by the expected number of labelled rows instead of the batch's own number: still a mean over labelled
        # rows in expectation, and a sum over rows, so neither accumulation nor the number of processes changes it.
        total = F.cross_entropy(branch, labels, reduction="sum", ignore_index=UNLABELLED)
        return total / (len(labels) * max(self.labelled_share, torch.finfo(torch.float32).eps))

    def _divergence(self, branch: Tensor, teacher: Tensor) -> Tensor:
        tau = self.branch.branch_temperature
        pair = (branch, teacher) if self.branch.kl_direction == "from_branch" else (teacher, branch)
        log_p, log_q = ((logits / tau).log_softmax(1) for logits in pair)
        # KL(p || q), scaled by the squared temperature so that its gradient keeps its size (Hinton et al., 2015).
        return tau**2 * (log_p.exp() * (log_p - log_q)).sum(1).mean()

    def _next_seed(self) -> int:
        drawn = self.get_buffer("drawn")
        seed = self.seed * _SEED_STRIDE + int(drawn)
        if self.training:
            drawn += 1
        return seed

    def _baseline(self, losses: Tensor) -> Tensor:
        """The running mean of the losses before this step (in the first step, their mean); training updates it."""
        running = self.get_buffer("expected")
        previous = torch.where(running == 0, losses.mean(), running)
        if self.training:
            running.copy_(_BASELINE_MOMENTUM * previous + (1 - _BASELINE_MOMENTUM) * losses.mean())
        return previous


class TeacherWithBranches(StudentWithLoss):
    """The teacher in training together with its conditioning loss, as one module.

    The branches continue from the teacher's hidden states, so these keep what `StudentWithLoss` would leave out, such
    as the class token.
    """

    def outputs(self, inputs: Mapping[str, Tensor]) -> ModelOutputs:
        """Outputs of the teacher on preprocessed rows, with hidden states as the next layer would take them."""
        return self.reader.read(inputs, self.hidden, whole=True)


def stages_of(config: PreTrainedConfig) -> int:
    """Number of stages of a teacher: the length of `depths` in its configuration, or else its number of layers.

    Args:
        config: configuration of the teacher.

    Raises:
        InvalidArgumentError: if the configuration has neither.
    """
    values: Mapping[str, Any] = config.to_dict()
    depths = values.get("depths")
    if isinstance(depths, list | tuple):
        return len(depths)
    layers = values.get(config.attribute_map.get("num_hidden_layers", "num_hidden_layers"))
    if not isinstance(layers, int):
        raise InvalidArgumentError(
            f"`model` must have `depths` or `num_hidden_layers` in its configuration, but {type(config).__name__} has "
            "neither. Choose another architecture."
        )
    return layers
