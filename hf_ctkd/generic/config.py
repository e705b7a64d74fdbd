"""Training arguments of a generic teacher: those of `DistillationConfig` and those of its branches."""

from dataclasses import dataclass, field
from typing import Literal

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training import DistillationConfig

SAMPLERS = ("gumbel", "categorical", "uniform")
DIRECTIONS = ("from_branch", "from_teacher")


@dataclass
class BranchSettings:
    """How the branches of a generic teacher are drawn and trained.

    Raises:
        InvalidArgumentError: if a value is out of its range.
    """

    paths_per_step: int = field(
        default=2, metadata={"help": "Number of students drawn from the pool at every step; 1 or more."}
    )
    path_sampler: Literal["gumbel", "categorical", "uniform"] = field(
        default="gumbel",
        metadata={
            "help": "How the distribution of paths is trained: gumbel (straight-through), categorical (score "
            "function), or uniform for not at all."
        },
    )
    path_temperature: float = field(
        default=1.0, metadata={"help": "Temperature of the relaxed gates of the sampler gumbel; positive."}
    )
    path_learning_rate: float = field(
        default=1e-2, metadata={"help": "Peak learning rate of the logits of the paths, which have no weight decay."}
    )
    branch_kl_weight: float = field(
        default=3.0,
        metadata={
            "help": "Weight of the divergence between branch and teacher, relative to the branch's cross-entropy."
        },
    )
    branch_temperature: float = field(
        default=4.0,
        metadata={"help": "Temperature of both predictions in the divergence, which is scaled by its square."},
    )
    kl_direction: Literal["from_branch", "from_teacher"] = field(
        default="from_branch",
        metadata={"help": "from_branch for KL(branch || teacher), from_teacher for KL(teacher || branch)."},
    )
    architecture_sign: int = field(
        default=1,
        metadata={
            "help": "1 to prefer paths whose branches have a low loss, -1 to prefer paths whose branches have a high "
            "one."
        },
    )
    entropy_weight: float = field(
        default=0.1,
        metadata={"help": "Weight of the entropy of the distribution of paths, which keeps it from collapsing."},
    )

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Refuse values that are out of range."""
        if self.paths_per_step < 1:
            raise InvalidArgumentError(f"`paths_per_step` must be at least 1, got {self.paths_per_step}.")
        for name, options in (("path_sampler", SAMPLERS), ("kl_direction", DIRECTIONS)):
            if vars(self)[name] not in options:
                raise InvalidArgumentError(f"`{name}` must be one of {', '.join(options)}, got {vars(self)[name]!r}.")
        for name in ("path_temperature", "branch_temperature", "path_learning_rate"):
            if not vars(self)[name] > 0:
                raise InvalidArgumentError(f"`{name}` must be positive, got {vars(self)[name]}.")
        for name in ("branch_kl_weight", "entropy_weight"):
            if not vars(self)[name] >= 0:
                raise InvalidArgumentError(f"`{name}` must be 0 or more, got {vars(self)[name]}.")
        if self.architecture_sign not in {1, -1}:
            raise InvalidArgumentError(f"`architecture_sign` must be 1 or -1, got {self.architecture_sign}.")


@dataclass
class GenericTeacherConfig(BranchSettings, DistillationConfig):
    """Arguments of a `GenericTeacherTrainer`: those of `DistillationConfig` and of `BranchSettings`.

    `distillation_weight` weighs the conditioning loss. Arguments of `DistillationConfig` that concern teachers have no
    effect, because a generic teacher has no teacher.

    Raises:
        InvalidArgumentError: if an argument is out of its range.
    """

    def __post_init__(self) -> None:
        DistillationConfig.__post_init__(self)
        self.check()
