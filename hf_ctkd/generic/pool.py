"""A declared finite pool of students of one family."""

import itertools
import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from huggingface_hub.errors import StrictDataclassError

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.generic.families import FAMILIES, Family
from hf_ctkd.generic.member import Decision, PoolMember
from hf_ctkd.records import read_json, write_json
from hf_ctkd.types import LabelSpace

if TYPE_CHECKING:
    from hf_ctkd.generic.measure import MeasuredStudent

KIND = "student-pool"
_OWN = {"depths", "embedding_size", "hidden_size", "hidden_sizes", "id2label", "image_size", "intermediate_size",
        "label2id", "num_attention_heads", "num_hidden_layers", "num_labels", "num_stages"}  # fmt: skip
"""Fields of configurations that members are made of, so that no setting can be."""


@dataclass(frozen=True)
class StudentPool:
    """A finite set of student architectures of one family, declared by what can be chosen.

    Use it to say once for which students a teacher is to be made, to draw students, and to find those that fit a
    device. Members are plain `transformers` models. A stage of an encoder is a run of its layers; its width is
    `heads * head_width`, the same in all layers, and so is its feed-forward width.

    Args:
        family: "resnet", "convnext", "vit" or "bert".
        depths: for each stage the numbers of layers to choose from.
        widths: for each stage the channels to choose from; for "resnet" and "convnext".
        heads: numbers of attention heads to choose from; for "vit" and "bert".
        feed_forward: feed-forward widths to choose from; for "vit" and "bert".
        head_width: width of each head; for "vit" and "bert".
        input_size: height and width of images in pixels, or most tokens of a text.
        settings: further fields of the family's configuration, the same for all members, such as `patch_size` or
            `vocab_size`, as JSON values.

    Raises:
        InvalidArgumentError: if the family is unknown, a choice is missing or does not belong to it, or is not
            positive, or a setting is unknown or no free one.

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
                f"A pool's choices must be lists of whole numbers, in `depths` and `widths` one list a stage, and "
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
                what = "is needed" if name in needed else "has no meaning"
                raise InvalidArgumentError(f"`{name}` {what} for the family {self.family!r}. Declare {_said(needed)}.")
        if len(self.depths) < 2:
            raise InvalidArgumentError(f"`depths` must have at least two stages, got {len(self.depths)}.")
        if self.widths and len(self.widths) != len(self.depths):
            raise InvalidArgumentError(
                f"`widths` must have as many stages as `depths`, {len(self.depths)}, got {len(self.widths)}."
            )
        for name in ("input_size", *(name for name in needed if name == "head_width")):
            if not _whole(vars(self)[name]):
                raise InvalidArgumentError(f"`{name}` must be a whole number of at least 1, got {vars(self)[name]!r}.")
        for decision in self.decisions:
            options = decision.options
            if not options or not all(map(_whole, options)) or list(options) != sorted(set(options)):
                raise InvalidArgumentError(
                    f"`{decision.name}` must offer whole numbers of at least 1, ascending and each once, "
                    f"got {list(options)}."
                )

    def _checked_settings(self) -> dict[str, Any]:
        shape, size = self.largest.shape, self.input_size
        known = self.kind.config(shape, input_size=size, settings={}).to_dict()
        for name in self.settings:
            if name in _OWN:
                raise InvalidArgumentError(
                    f"`settings` must not hold {name!r}, which follows from the choices of the pool, from `input_size` "
                    "or from the task. Leave it out."
                )
            if name not in known:
                raise InvalidArgumentError(
                    f"`settings` holds {name!r}, which no configuration of the family {self.family!r} has. "
                    "Correct its name."
                )
        try:
            settings = json.loads(json.dumps(self.settings))  # as they are when they come from a file
            self.kind.config(shape, input_size=size, settings=settings)
        except (TypeError, ValueError, StrictDataclassError) as error:
            said = " ".join(str(error).split())[:300].rstrip(".")
            raise InvalidArgumentError(
                f"`settings` must be JSON values that suit the family {self.family!r}: {said}."
            ) from error
        return settings

    # ---- what there is to choose ------------------------------------------------------------------------------------

    @property
    def kind(self) -> Family:
        """The family itself."""
        return FAMILIES[self.family]

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """What a path decides, in its order."""
        depths = [Decision(f"depth of stage {place}", options) for place, options in enumerate(self.depths, 1)]
        widths = [Decision(f"width of stage {place}", options) for place, options in enumerate(self.widths, 1)]
        encoder = [Decision("heads", self.heads), Decision("feed-forward", self.feed_forward)]
        return (*depths, *widths, *(encoder if not self.widths else []))

    def __len__(self) -> int:
        """Number of members."""
        return math.prod(len(decision.options) for decision in self.decisions)

    def __iter__(self) -> Iterator[PoolMember]:
        """All members, smallest choices first."""
        places = (range(len(decision.options)) for decision in self.decisions)
        return (PoolMember(self, path) for path in itertools.product(*places))

    @property
    def largest(self) -> PoolMember:
        """The member with the largest of every choice: all others are parts of it."""
        return PoolMember(self, tuple(len(decision.options) - 1 for decision in self.decisions))

    def member(self, **values: int) -> PoolMember:
        """The member with these choices, by name of the decision with underscores: `depth_of_stage_1=2`.

        Raises:
            InvalidArgumentError: if a decision is missing or unknown, or an option is not offered.
        """
        named = {decision.name.replace(" ", "_").replace("-", "_"): decision for decision in self.decisions}
        if set(values) != set(named):
            raise InvalidArgumentError(f"`member` needs a choice for each of {', '.join(named)}, got {list(values)}.")
        for name, decision in named.items():
            if values[name] not in decision.options:
                raise InvalidArgumentError(f"`{name}` must be one of {list(decision.options)}, got {values[name]}.")
        return PoolMember(self, tuple(named[name].options.index(values[name]) for name in named))

    # ---- members ----------------------------------------------------------------------------------------------------

    def sample(self, n: int, seed: int) -> tuple[PoolMember, ...]:
        """Different members, each equally likely.

        Args:
            n: how many, at most as many as there are.
            seed: of the draw.

        Raises:
            InvalidArgumentError: if there are not so many.
        """
        if not 1 <= n <= len(self):
            raise InvalidArgumentError(f"`n` must be from 1 to the {len(self)} members of the pool, got {n}.")
        return tuple(self._numbered(number) for number in random.Random(seed).sample(range(len(self)), n))

    def _numbered(self, number: int) -> PoolMember:
        path = []
        for decision in reversed(self.decisions):
            number, place = divmod(number, len(decision.options))
            path.append(place)
        return PoolMember(self, tuple(reversed(path)))

    def under(
        self,
        label_space: LabelSpace,
        *,
        parameters: int | None = None,
        latency_ms: float | None = None,
        device: str = "cpu",
        candidates: int = 200,
        seed: int = 0,
    ) -> tuple["MeasuredStudent", ...]:
        """The members that fit a budget, built and timed on the device, most parameters first.

        Larger pools than `candidates` are searched over so many random members.

        Args:
            label_space: classes of the task, for the head that counts too.
            parameters: most parameters.
            latency_ms: most milliseconds of a forward pass of one row.
            device: where to time, such as "cpu" or "cuda".
            candidates: most members that are looked at.
            seed: of the members looked at in a larger pool.

        Raises:
            InvalidArgumentError: if no member looked at fits.
        """
        from hf_ctkd.generic.measure import fitting  # it builds members

        looked_at = tuple(self) if len(self) <= candidates else self.sample(candidates, seed)
        return fitting(looked_at, label_space, parameters=parameters, latency_ms=latency_ms, device=device)

    def only(self, member: PoolMember) -> "StudentPool":
        """The pool of one member alone: a teacher for exactly this student."""
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

    # ---- on disk ----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"kind": KIND, **asdict(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "StudentPool":
        """From JSON values.

        Raises:
            InvalidArgumentError: if they describe no pool.
        """
        known = {one.name for one in fields(cls)}
        if not {"family", "depths"} <= set(values) or not set(values) <= {*known, "kind"}:
            raise InvalidArgumentError(
                f"A pool is described by `family`, `depths` and others of {', '.join(sorted(known))}, "
                f"got {', '.join(sorted(values))}."
            )
        return cls(**{name: value for name, value in values.items() if name in known})

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


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _said(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in ("depths", *names))
