"""Feature distillation through a learned projection: inverted, traditional or orthogonal."""

import copy
from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses.alignment import Aligned, align, same_positions
from hf_ctkd.losses.base import DistillationLoss, require_teachers, require_weight
from hf_ctkd.losses.distances import DISTANCES, Distance
from hf_ctkd.losses.feature_rank import FeatureRank
from hf_ctkd.losses.projection_heads import NORMALISERS, PROJECTIONS, ProjectionHead, spectrum
from hf_ctkd.types import LossContext, ModelOutputs, Needs

_DEFAULTS: dict[str, tuple[str, str]] = {
    "inverted": ("l2", "batch"),
    "traditional": ("l2", "batch"),
    "orthogonal": ("smooth_l1", "layer"),
}
"""Distance and normalisation of each direction."""


class _ThroughProjection(DistillationLoss):
    """What `ProjectionLoss` and its short names share."""

    def __init__(
        self,
        direction: str,
        distance: str | Distance | None,
        layers: Sequence[tuple[int, int]] | None,
        normalise: str | None,
        weight: float | None,
    ) -> None:
        super().__init__()
        _check_choice("direction", direction, _DEFAULTS)
        usual_distance, usual_normalise = _DEFAULTS[direction]
        self.direction = direction
        self.distance = usual_distance if distance is None else distance
        self.normalise = usual_normalise if normalise is None else normalise
        _check_choice("normalise", self.normalise, NORMALISERS)
        if isinstance(self.distance, str):
            _check_choice("distance", self.distance, DISTANCES)
        usual_weight = (DISTANCES[self.distance] if isinstance(self.distance, str) else self.distance).usual_weight
        self.weight = usual_weight if weight is None else weight
        require_weight(self.weight)
        if layers is not None and not layers:
            raise InvalidArgumentError("`layers` must hold at least one pair, got none. Pass None to read features.")
        self.layers = None if layers is None else tuple((student, teacher) for student, teacher in layers)
        self.hidden = () if self.layers is None else self.layers
        self.needs = Needs.TEACHER | (Needs.FEATURES if self.layers is None else Needs.HIDDEN)
        self.heads = nn.ModuleList()
        self.feature_rank = FeatureRank(self.name)

    def setup(self, context: LossContext) -> None:
        """Make one projection for each teacher and layer pair, for the widths seen; see `DistillationLoss.setup`."""
        require_teachers(context, type(self).__name__)
        generator = torch.Generator().manual_seed(context.seed)
        for teacher in context.teachers:
            # Outputs in memory may have hidden layers, of the student's rows. Those on disk have features alone.
            outputs = teacher if isinstance(teacher, ModelOutputs) else teacher.select(torch.arange(1))
            for pair in range(self._pairs):
                self.heads.append(self._head(context.student, outputs, pair, generator))
        features, mask = self._student_side(context.student, 0)
        rows = features.flatten(0, 1) if mask is None else features[mask]
        self.feature_rank.setup(rows, len(context.label_space))

    def forward(
        self, student: ModelOutputs, teachers: tuple[ModelOutputs, ...], labels: Int[Tensor, " batch"]
    ) -> dict[str, Tensor]:
        """One term, the mean over teachers and layer pairs; see `DistillationLoss.forward`."""
        layers = [(teacher, pair) for teacher in teachers for pair in range(self._pairs)]
        self.feature_rank.record(*self._student_side(student, 0))
        with torch.autocast(student.features.device.type, enabled=False):
            distances = [
                head(self._aligned(student, teacher, pair, positionwise=head.positionwise))
                for head, (teacher, pair) in zip(self._heads, layers, strict=True)
            ]
        return {self.name: self.weight * torch.stack(distances).mean()}

    def diagnostics(self) -> dict[str, float]:
        """Effective rank of the student's features in the last batch, and the spectrum of each projection.

        Of a projection: its effective rank (in directions) and the largest direction's share of the energy.

        The effective rank is the exponential of the entropy of the squared singular values. A projection that uses few
        of a teacher's directions tells of a teacher that shares little with the student's task.
        """
        several = self._pairs > 1
        spectra: dict[str, float] = {}
        for index, head in enumerate(self._heads):
            teacher, pair = divmod(index, self._pairs)
            prefix = f"{self.name}/teacher_{teacher}" + (f"/layer_{pair}" if several else "")
            spectra |= {f"{prefix}/{name}": value for name, value in spectrum(head.projection.weight).items()}
        return spectra | self.feature_rank.observe()

    def remarks(self) -> tuple[str, ...]:
        """Whether the student's features collapsed; see `DistillationLoss.remarks`."""
        return self.feature_rank.remarks()

    @property
    def _heads(self) -> list[ProjectionHead]:
        return [head for head in self.heads if isinstance(head, ProjectionHead)]

    @property
    def _pairs(self) -> int:
        return 1 if self.layers is None else len(self.layers)

    def _student_side(
        self, student: ModelOutputs, pair: int
    ) -> tuple[Float[Tensor, "batch positions width"], Bool[Tensor, "batch positions"] | None]:
        """What the loss reads of the student, and which positions count."""
        if self.layers is None:
            return student.features.unsqueeze(1), None
        return student.hidden[pair].values, student.hidden[pair].mask

    def _aligned(self, student: ModelOutputs, teacher: ModelOutputs, pair: int, *, positionwise: bool) -> Aligned:
        if self.layers is None:
            return Aligned(student.features.float().unsqueeze(1), teacher.features.detach().float().unsqueeze(1))
        return align(student.hidden[pair], teacher.hidden[pair], positionwise=positionwise)

    def _head(
        self, student: ModelOutputs, teacher: ModelOutputs, pair: int, generator: torch.Generator
    ) -> ProjectionHead:
        if self.layers is not None:
            self._check_layers(student, teacher)
        student_width, teacher_width = (
            (outputs.features if self.layers is None else outputs.hidden[pair].values).shape[-1]
            for outputs in (student, teacher)
        )
        prototype = self.distance if isinstance(self.distance, Distance) else DISTANCES[self.distance]()
        positions = self.layers is not None and same_positions(student.hidden[pair], teacher.hidden[pair])
        grids = self.layers is not None and all(len(side.hidden[pair].grid) == 2 for side in (student, teacher))
        if prototype.needs_positions and not (positions or grids):
            raise InvalidArgumentError(
                f"`distance` {prototype.name} compares positions within a row, but there is only one to compare. "
                "Pass `layers` of image models (or of text models with one tokenizer), or choose another distance."
            )
        source, width = student_width, teacher_width
        if self.direction == "inverted":
            source, width = width, source
        projection = PROJECTIONS[self.direction](source, width, generator)
        return ProjectionHead(
            projection,
            NORMALISERS[self.normalise](width),
            copy.deepcopy(prototype),
            width=width,
            inverted=self.direction == "inverted",
            positionwise=positions,
        )

    def _check_layers(self, student: ModelOutputs, teacher: ModelOutputs) -> None:
        for who, outputs in (("student", student), ("teacher", teacher)):
            if len(outputs.hidden) != self._pairs:
                raise InvalidArgumentError(
                    f"`{who}` must hand over {self._pairs} hidden layers for `layers`, got {len(outputs.hidden)}."
                )


class ProjectionLoss(_ThroughProjection):
    """Distance between student and teacher features, one of them through a learned linear map, dropped afterwards.

    `direction` says which side is mapped. *Inverted*: `d(Z_s, Z_t P)`; teacher directions that the student's task has
    no use for may be ignored, so use it when the teacher was trained for another task, or is untrained. *Traditional*:
    `d(Z_s P, Z_t)`; the student is asked to hold all that the teacher knows, so use it for the same task only.
    *Orthogonal*: traditional with orthonormal `P`, which can neither discard nor rescale what it maps; same task,
    teacher at least as wide as the student. It never looks at labels, needs no logits, and pays off most where the
    teacher's features are good for the task and unlabelled rows are many; with few rows `RowTransportLoss` gains more.

    Batch statistics are those of each process, as in `torch.nn.BatchNorm1d`: keep rows a process (times positions)
    above the student's width, and for "traditional" above the teacher's. An inverted projection that is trained over
    many steps need not have more rows in a batch than the teacher has features. A batch of a single row is normalised
    with the running statistics.

    Where the loss outweighs the labels, a student can please it by giving up most directions of its features; batch
    norm forbids features of size zero, but not of rank one. "logsum" at weight 1 does so: its gradient grows as the
    distance shrinks. The effective rank of the student's features is logged, a collapse is warned of and stated on the
    card; see `hf_ctkd.losses.feature_rank.FeatureRank` for the criterion.

    Args:
        direction: "inverted", "traditional" or "orthogonal".
        distance: a name of `hf_ctkd.losses.distances.DISTANCES` ("l2", "logsum", "smooth_l1", "cosine", "vid", "at",
            "pkt", "sp", "rkd") or a `Distance`; by default "l2", for orthogonal "smooth_l1". "at" needs `layers`.
        layers: pairs of indices into `hidden_states`, the student's first; None reads what the head reads. An image
            teacher's grid is resized to the student's; texts under different tokenizers are averaged over their tokens.
        normalise: "batch" (non-affine batch norm, both sides after the projection), "layer" (non-affine layer norm,
            teacher's side alone) or "none"; by default "batch", for orthogonal "layer". With "none" a student and a
            projection that are all zero are a perfect solution, which only the task loss forbids.
        weight: of the term, positive; by default that of the distance, `Distance.usual_weight`: 0.1 for "l2" and
            "smooth_l1", 0.03 for "logsum", 1 for all others.

    Raises:
        InvalidArgumentError: an argument that is not on offer.

    Reference:
        Inverted: reconstructed from Auty, Miles, Kolbeinsson and Mikolajczyk, "Learning to project for cross-task
        knowledge distillation", arXiv:2403.14494. Batch norm on both sides after Miles and Mikolajczyk,
        arXiv:2303.11098; distance and weight by our measurements. Orthogonal: after Miles, Elezi and Deng, "VkD",
        arXiv:2403.06213.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, ProjectionLoss
        >>> loss = ProjectionLoss("orthogonal", distance="smooth_l1")
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["facebook/dinov2-small"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "projection"
    citation = """@misc{auty2024learning,
  title = {Learning to Project for Cross-Task Knowledge Distillation},
  author = {Auty, Dylan and Miles, Roy and Kolbeinsson, Benedikt and Mikolajczyk, Krystian},
  year = {2024},
  eprint = {2403.14494},
  archivePrefix = {arXiv},
  note = {Inverted projection: reconstructed}
}

@misc{miles2024vkd,
  title = {VkD: Improving Knowledge Distillation using Orthogonal Projections},
  author = {Miles, Roy and Elezi, Ismail and Deng, Jiankang},
  year = {2024},
  eprint = {2403.06213},
  archivePrefix = {arXiv},
  note = {Orthogonal projection: after this paper}
}
"""

    def __init__(
        self,
        direction: str = "inverted",
        *,
        distance: str | Distance | None = None,
        layers: Sequence[tuple[int, int]] | None = None,
        normalise: str | None = None,
        weight: float | None = None,
    ) -> None:
        super().__init__(direction, distance, layers, normalise, weight)


class InvertedProjectionLoss(_ThroughProjection):
    """Distance between student features and the teacher's through a learned map, which may ignore most of them.

    The short name of `ProjectionLoss("inverted")`: use it when the teacher was trained for another task, including
    dense student tasks (with `layers`), where a random teacher can serve too. Not for few training rows: with fewer
    rows times positions than the teacher has features, the projection fits anything.

    Args:
        distance: as in `ProjectionLoss`.
        layers: as in `ProjectionLoss`.
        normalise: as in `ProjectionLoss`.
        weight: as in `ProjectionLoss`.

    Raises:
        InvalidArgumentError: an argument that is not on offer.

    Reference:
        Reconstructed from Auty, Miles, Kolbeinsson and Mikolajczyk, arXiv:2403.14494.

    Example:
        >>> from hf_ctkd import DistillationConfig, DistillationTrainer, InvertedProjectionLoss
        >>> loss = InvertedProjectionLoss(layers=((-1, -1),))
        >>> trainer = DistillationTrainer(  # doctest: +SKIP
        ...     model=student,
        ...     args=DistillationConfig("flowers-student", num_train_epochs=20),
        ...     processing_class=image_processor,
        ...     teachers=["facebook/dinov2-small"],
        ...     loss=loss,
        ...     train_dataset=flowers["train"],
        ... )
        >>> trainer.train()  # doctest: +SKIP
    """

    name: ClassVar[str] = "inverted_projection"
    citation = """@misc{auty2024learning,
  title = {Learning to Project for Cross-Task Knowledge Distillation},
  author = {Auty, Dylan and Miles, Roy and Kolbeinsson, Benedikt and Mikolajczyk, Krystian},
  year = {2024},
  eprint = {2403.14494},
  archivePrefix = {arXiv},
  note = {Reconstructed}
}
"""

    def __init__(
        self,
        distance: str | Distance = "l2",
        *,
        layers: Sequence[tuple[int, int]] | None = None,
        normalise: str = "batch",
        weight: float | None = None,
    ) -> None:
        super().__init__("inverted", distance, layers, normalise, weight)


def _check_choice(name: str, value: str, choices: dict) -> None:
    if value not in choices:
        raise InvalidArgumentError(f"`{name}` must be one of {', '.join(choices)}, got {value!r}.")
