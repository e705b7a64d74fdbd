"""A finite pool of student architectures of one family, and its members as plain `transformers` models."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig, PreTrainedModel

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.families import FAMILIES, Family, Shape
from hf_ctkd.records import read_json, write_json
from hf_ctkd.types import LabelSpace

KIND = "student-pool"
_SET_BY_THE_POOL = {
    "depths", "embedding_size", "hidden_size", "hidden_sizes", "id2label", "image_size", "intermediate_size",
    "label2id", "num_attention_heads", "num_hidden_layers", "num_labels", "num_stages",
}  # fmt: skip
"""Fields of a configuration that the pool's choices, its `input_size` or the task decide; `settings` may not."""


@dataclass(frozen=True)
class Decision:
    """One dimension in which the members of a pool differ.

    Args:
        name: such as "depth of stage 1" or "heads".
        options: the values to choose from, ascending.
    """

    name: str
    options: tuple[int, ...]


@dataclass(frozen=True)
class PoolMember:
    """One student architecture of a pool.

    Args:
        pool: the pool that it belongs to.
        path: for each decision of the pool the index of the chosen option.
    """

    pool: "StudentPool"
    path: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """Depths and widths of its stages."""
        options = [decision.options[index] for decision, index in zip(self.pool.decisions, self.path, strict=True)]
        stages = len(self.pool.depths)
        depths, rest = tuple(options[:stages]), tuple(options[stages:])
        if self.pool.widths:
            return Shape(depths, rest)
        return Shape(depths, (), rest[0], rest[1], self.pool.head_width)

    @property
    def name(self) -> str:
        """Family, depths and widths in one line."""
        shape = self.shape
        start = f"{self.pool.family} depths {_dashed(shape.depths)}"
        if shape.widths:
            return f"{start} widths {_dashed(shape.widths)}"
        return f"{start} heads {shape.heads} feed-forward {shape.feed_forward}"

    def config(self, label_space: LabelSpace) -> PreTrainedConfig:
        """Its `transformers` configuration, with the classes of a task."""
        pool = self.pool
        config = pool.kind.config(self.shape, input_size=pool.input_size, settings=pool.settings)
        config.id2label = dict(enumerate(label_space.names))
        config.label2id = {name: index for index, name in enumerate(label_space.names)}
        return config

    def build(self, label_space: LabelSpace, *, seed: int = 0) -> PreTrainedModel:
        """A new `transformers` model with random weights.

        Args:
            label_space: classes of the task.
            seed: of its weights.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.pool.kind.model_class(self.config(label_space))

    def skeleton(self, label_space: LabelSpace) -> PreTrainedModel:
        """The model on the meta device: names and shapes of its weights, without their memory."""
        with torch.device("meta"):
            return self.pool.kind.model_class(self.config(label_space))


@dataclass(frozen=True)
class StudentPool:
    """A finite set of student architectures of one family, declared by the options of each dimension.

    Use it to declare the students that a generic teacher is trained for, and to draw students from;
    `students_within_budget` finds those that fit a device. It does not suit a single known student: distill that one
    with `DistillationTrainer`. Members are plain `transformers` models. A stage of an encoder is a run of consecutive
    layers; all its layers have the width `heads * head_width` and the same feed-forward width.

    Args:
        family: "resnet", "convnext", "vit" or "bert".
        depths: for each of two or more stages the numbers of layers to choose from.
        widths: for each stage the channels to choose from; for "resnet" and "convnext".
        heads: numbers of attention heads to choose from; for "vit" and "bert".
        feed_forward: feed-forward widths to choose from; for "vit" and "bert".
        head_width: width of each head; for "vit" and "bert".
        input_size: height and width of images in pixels, or the maximum length of texts in tokens.
        settings: further fields of the family's configuration, the same for all members, such as `patch_size` or
            `vocab_size`, as JSON values.

    Raises:
        InvalidArgumentError: if the family is unknown, an option is missing, not positive or not one of this family,
            or a setting is unknown or decided by the pool.

    Example:
        >>> pool = StudentPool("resnet", ((1, 2), (1, 2)), widths=((8, 16), (16, 32)), input_size=16)
        >>> len(pool), pool.sample(2, seed=0)[0].name
        (16, 'resnet depths 2-2 widths 8-16')
    """

    family: str
    depths: tuple[tuple[int, ...], ...]
    widths: tuple[tuple[int, ...], ...] = ()
    heads: tuple[int, ...] = ()
    feed_forward: tuple[int, ...] = ()
    head_width: int = 0
    input_size: int = 224
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "depths", _options_of_stages(self.depths))
            object.__setattr__(self, "widths", _options_of_stages(self.widths))
            object.__setattr__(self, "heads", tuple(self.heads))
            object.__setattr__(self, "feed_forward", tuple(self.feed_forward))
            object.__setattr__(self, "settings", dict(self.settings))
        except TypeError as error:
            raise InvalidArgumentError(
                f"A pool's options must be lists of integers, in `depths` and `widths` one list per stage, and "
                f"`settings` a mapping: {error}."
            ) from error
        self._check()
        object.__setattr__(self, "settings", self._checked_settings())

    def _check(self) -> None:
        if self.family not in FAMILIES:
            raise InvalidArgumentError(f"`family` must be one of {', '.join(FAMILIES)}, got {self.family!r}.")
        needed = self.kind.chosen
        for name in ("widths", "heads", "feed_forward", "head_width"):
            if bool(vars(self)[name]) != (name in needed):
                problem = "is required" if name in needed else "has no meaning"
                arguments = ", ".join(f"`{argument}`" for argument in ("depths", *needed))
                raise InvalidArgumentError(f"`{name}` {problem} for the family {self.family!r}. Declare {arguments}.")
        if len(self.depths) < 2:
            raise InvalidArgumentError(f"`depths` must have at least two stages, got {len(self.depths)}.")
        if self.widths and len(self.widths) != len(self.depths):
            raise InvalidArgumentError(
                f"`widths` must have as many stages as `depths`, {len(self.depths)}, got {len(self.widths)}."
            )
        for name in ("input_size", *(name for name in needed if name == "head_width")):
            if not _is_positive_integer(vars(self)[name]):
                raise InvalidArgumentError(f"`{name}` must be a positive integer, got {vars(self)[name]!r}.")
        for decision in self.decisions:
            options = decision.options
            if not options or not all(map(_is_positive_integer, options)) or list(options) != sorted(set(options)):
                raise InvalidArgumentError(
                    f"`{decision.name}` must offer positive integers, ascending and without repetition, "
                    f"got {list(options)}."
                )

    def _checked_settings(self) -> dict[str, Any]:
        shape, size = self.largest.shape, self.input_size
        defaults = self.kind.config(shape, input_size=size, settings={}).to_dict()
        for name in self.settings:
            if name in _SET_BY_THE_POOL:
                raise InvalidArgumentError(
                    f"`settings` must not hold {name!r}: the pool's options, `input_size` or the task decide it. "
                    "Leave it out."
                )
            if name not in defaults:
                raise InvalidArgumentError(
                    f"`settings` holds {name!r}, which no configuration of the family {self.family!r} has. "
                    "Correct its name."
                )
        try:
            settings = json.loads(json.dumps(self.settings))  # the same values as after a round trip through a file
            self.kind.config(shape, input_size=size, settings=settings)
        except (TypeError, ValueError, StrictDataclassError) as error:
            reason = " ".join(str(error).split())[:300].rstrip(".")
            raise InvalidArgumentError(
                f"`settings` must be JSON values that suit the family {self.family!r}: {reason}."
            ) from error
        return settings

    @property
    def kind(self) -> Family:
        """The family: how it builds a configuration and where its models keep their stages."""
        return FAMILIES[self.family]

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """The dimensions of the pool, in the order of a path."""
        depths = [Decision(f"depth of stage {stage}", options) for stage, options in enumerate(self.depths, 1)]
        widths = [Decision(f"width of stage {stage}", options) for stage, options in enumerate(self.widths, 1)]
        encoder = [Decision("heads", self.heads), Decision("feed-forward", self.feed_forward)]
        return (*depths, *widths, *(encoder if not self.widths else []))

    def __len__(self) -> int:
        """Number of members."""
        return math.prod(len(decision.options) for decision in self.decisions)

    def __iter__(self) -> Iterator[PoolMember]:
        """All members, smallest options first."""
        indices = (range(len(decision.options)) for decision in self.decisions)
        return (PoolMember(self, path) for path in itertools.product(*indices))

    @property
    def largest(self) -> PoolMember:
        """The member with the largest option of every decision: all others are parts of it."""
        return PoolMember(self, tuple(len(decision.options) - 1 for decision in self.decisions))

    def member(self, **values: int) -> PoolMember:
        """The member with these options, by name of the decision with underscores: `depth_of_stage_1=2`.

        Raises:
            InvalidArgumentError: if a decision is missing or unknown, or an option is not offered.
        """
        named = {decision.name.replace(" ", "_").replace("-", "_"): decision for decision in self.decisions}
        if set(values) != set(named):
            raise InvalidArgumentError(f"`member` needs an option for each of {', '.join(named)}, got {list(values)}.")
        for name, decision in named.items():
            if values[name] not in decision.options:
                raise InvalidArgumentError(f"`{name}` must be one of {list(decision.options)}, got {values[name]}.")
        return PoolMember(self, tuple(named[name].options.index(values[name]) for name in named))

    def sample(self, n: int, seed: int) -> tuple[PoolMember, ...]:
        """Distinct members, drawn uniformly.

        Args:
            n: number of members, from 1 to the size of the pool.
            seed: of the draw.

        Raises:
            InvalidArgumentError: if the pool has fewer members.
        """
        if not 1 <= n <= len(self):
            raise InvalidArgumentError(f"`n` must be from 1 to the {len(self)} members of the pool, got {n}.")
        return tuple(self._member_at(position) for position in random.Random(seed).sample(range(len(self)), n))

    def _member_at(self, position: int) -> PoolMember:
        """The member at a position of `iter(pool)`, without building those before it."""
        path = []
        for decision in reversed(self.decisions):
            position, index = divmod(position, len(decision.options))
            path.append(index)
        return PoolMember(self, tuple(reversed(path)))

    def only(self, member: PoolMember) -> "StudentPool":
        """The pool of a single member, for a teacher that is trained for exactly this student."""
        shape = member.shape
        return StudentPool(
            self.family,
            tuple((depth,) for depth in shape.depths),
            tuple((width,) for width in shape.widths),
            (shape.heads,) if shape.heads else (),
            (shape.feed_forward,) if shape.feed_forward else (),
            self.head_width,
            self.input_size,
            self.settings,
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StudentPool":
        """From JSON values.

        Raises:
            InvalidArgumentError: if a required value is missing or one is unknown.
        """
        names = {field.name for field in fields(cls)}
        if not {"family", "depths"} <= set(values) or not set(values) <= {*names, "kind"}:
            raise InvalidArgumentError(
                f"A pool is described by `family`, `depths` and others of {', '.join(sorted(names))}, "
                f"got {', '.join(sorted(values))}."
            )
        return cls(**{name: value for name, value in values.items() if name in names})

    def save(self, path: Path | str) -> Path:
        """Write it as JSON, whole or not at all."""
        return write_json(path, self.to_dict())

    @classmethod
    def load(cls, path: Path | str) -> "StudentPool":
        """Read what `save` wrote.

        Raises:
            InvalidArgumentError: if the file is missing or holds something else.
        """
        return cls.from_dict(read_json(path, KIND))


def _options_of_stages(stages: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(options) for options in stages)


def _is_positive_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _dashed(numbers: tuple[int, ...]) -> str:
    return "-".join(map(str, numbers))
