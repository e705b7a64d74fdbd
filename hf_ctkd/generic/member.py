"""A member of a pool: from the options taken to a plain model."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from hf_ctkd.generic.families import Shape
from hf_ctkd.types import LabelSpace

if TYPE_CHECKING:
    from hf_ctkd.generic.pool import StudentPool


@dataclass(frozen=True)
class Decision:
    """One thing in which members differ.

    Args:
        name: such as "depth of stage 1" or "heads".
        options: what can be chosen, ascending.
    """

    name: str
    options: tuple[int, ...]


@dataclass(frozen=True)
class PoolMember:
    """One student architecture of a pool.

    Args:
        pool: where it belongs.
        path: for each decision of the pool the place of the option taken.
    """

    pool: "StudentPool"
    path: tuple[int, ...]

    @property
    def shape(self) -> Shape:
        """How deep and how wide it is."""
        taken = [decision.options[place] for decision, place in zip(self.pool.decisions, self.path, strict=True)]
        stages = len(self.pool.depths)
        depths, rest = tuple(taken[:stages]), tuple(taken[stages:])
        if self.pool.widths:
            return Shape(depths, rest)
        return Shape(depths, (), rest[0], rest[1], self.pool.head_width)

    @property
    def name(self) -> str:
        """Family and choices in one line."""
        shape = self.shape
        said = f"{self.pool.family} depths {_dashed(shape.depths)}"
        if shape.widths:
            return f"{said} widths {_dashed(shape.widths)}"
        return f"{said} heads {shape.heads} feed-forward {shape.feed_forward}"

    def config(self, label_space: LabelSpace) -> PreTrainedConfig:
        """Its plain configuration, with the classes of a task."""
        pool = self.pool
        config = pool.kind.config(self.shape, input_size=pool.input_size, settings=pool.settings)
        config.id2label = dict(enumerate(label_space.names))
        config.label2id = {name: number for number, name in enumerate(label_space.names)}
        return config

    def build(self, label_space: LabelSpace, *, seed: int = 0) -> PreTrainedModel:
        """A fresh plain model.

        Args:
            label_space: classes of the task.
            seed: of its weights; the same seed gives the same student.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.pool.kind.model_class(self.config(label_space))

    def skeleton(self, label_space: LabelSpace) -> PreTrainedModel:
        """The model without memory for its weights."""
        with torch.device("meta"):
            return self.pool.kind.model_class(self.config(label_space))


def _dashed(numbers: tuple[int, ...]) -> str:
    return "-".join(map(str, numbers))
