"""A trained model as it was saved, to be run over rows: a student, its teacher or a baseline."""

import inspect
from collections.abc import Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from datasets import Features, Image
from jaxtyping import Float
from numpy import ndarray
from torch import Tensor

from hf_ctkd.data import Modality, RowInput, TargetRows
from hf_ctkd.data.columns import InputColumn
from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import candidates_named
from hf_ctkd.tasks.base import ProblemType
from hf_ctkd.tasks.evaluation import rows_per_second
from hf_ctkd.teachers import LoadOptions, Teacher, compute_outputs
from hf_ctkd.types import LabelSpace, ModelOutputs


class TrainedModel:
    """A model as it was saved, with its head, its preprocessing and its classes, loaded as safely as teachers are.

    Args:
        name: folder, or id on the Hub.
        modality: of the rows.
        argument: what an error calls it.
        accelerator: with the device to run on.
        options: how to fetch and load.

    Raises:
        InvalidArgumentError: if it cannot be loaded, lacks a head, or reads other inputs.
    """

    def __init__(
        self, name: str | Path, modality: Modality, argument: str, *, accelerator: Accelerator, options: LoadOptions
    ) -> None:
        self.argument = argument
        self.accelerator = accelerator
        candidates = list(candidates_named(name, token=options.token))
        if len(candidates) != 1:
            raise InvalidArgumentError(f"`{argument}` {str(name)!r} holds {len(candidates)} models. Name one of them.")
        self.name = candidates[0].name
        try:
            self._model = Teacher.load(candidates[0], modality, device=accelerator.device, options=options)
        except TeacherUnavailableError as error:
            raise self._unusable(error) from error
        if self._model.label_space is None:
            raise InvalidArgumentError(
                f"`{argument}` {self.name!r} has no classification or regression head. Name a model that was trained "
                "for your labels; dense students are evaluated by `DistillationTrainer.evaluate`."
            )
        self.label_space: LabelSpace = self._model.label_space

    @property
    def model(self) -> torch.nn.Module:
        """The frozen model of transformers."""
        return self._model.model

    @property
    def parameters(self) -> int:
        """Number of its parameters."""
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def problem(self) -> ProblemType:
        """Its `problem_type`; without one in its configuration, a single output is a number and several are classes."""
        config = self._model.model.config
        return config.problem_type or ("regression" if config.num_labels == 1 else "single_label_classification")

    def logits(self, rows: TargetRows, *, batch_size: int) -> Float[ndarray, "rows classes"]:
        """Its logits for all rows.

        Args:
            rows: raw rows.
            batch_size: rows of a forward pass; halved where memory is too small.

        Raises:
            InvalidArgumentError: if it cannot be run on them.
            DatasetError: a row that cannot be read.
        """
        try:
            outputs = compute_outputs(self._model, rows, accelerator=self.accelerator, batch_size=batch_size)
        except TeacherUnavailableError as error:
            raise self._unusable(error) from error
        if not isinstance(outputs, ModelOutputs) or outputs.logits is None:
            raise InvalidArgumentError(f"`{self.argument}` {self.name!r} gives no logits. Name a model with a head.")
        return outputs.logits.float().numpy()

    def inputs(self, contents: Sequence[RowInput]) -> dict[str, Tensor]:
        """What its forward pass takes, preprocessed, on the CPU.

        Args:
            contents: raw images or texts.
        """
        batch = self._model.collate(contents)
        accepted = inspect.signature(self.model.forward).parameters
        return {name: tensor for name, tensor in batch.items() if name in accepted}

    @torch.no_grad()
    def speed(self, rows: TargetRows, count: int) -> float:
        """Rows a second of a forward pass over preprocessed rows; see `rows_per_second`.

        Args:
            rows: raw rows, of which the first ones are run.
            count: how many of them together.
        """
        batch = self._model.collate(rows.inputs(range(min(count, len(rows)))))
        on_device = {name: tensor.to(self.accelerator.device) for name, tensor in batch.items()}
        return rows_per_second(lambda inputs: self._model.reader.read(inputs), on_device)

    def columns_of(self, space: LabelSpace) -> list[int] | None:
        """Its column of logits for each class of another model; None where it has other classes."""
        return matching(self.label_space, space)

    def _unusable(self, error: TeacherUnavailableError) -> InvalidArgumentError:
        reason = str(error).rstrip(".")
        return InvalidArgumentError(
            f"`{self.argument}` {self.name!r} cannot be used: {reason}. Name a folder or an id on the Hub of a model "
            "that reads such rows."
        )


def modality_of(features: Features, input_column: InputColumn | None) -> Modality:
    """Whether the rows are images or texts, by the types of the columns.

    Args:
        features: of the data set.
        input_column: columns of the input; None to look at all columns.
    """
    named = [input_column] if isinstance(input_column, str) else input_column
    names = list(features) if named is None else list(named)
    return "image" if any(isinstance(features.get(name), Image) for name in names) else "text"


def matching(space: LabelSpace, other: LabelSpace) -> list[int] | None:
    """For each class of one label space its position in another, by name; None if their names differ.

    Where either has no names but numbers, ids are compared as they stand.

    Args:
        space: in which classes are looked up.
        other: the classes to look up.

    Example:
        >>> matching(LabelSpace(("dog", "cat")), LabelSpace(("cat", "dog")))
        [1, 0]
    """
    if not (space.informative and other.informative):
        return list(range(len(other))) if len(space) == len(other) else None
    if set(space.names) != set(other.names):
        return None
    return [space.names.index(name) for name in other.names]
