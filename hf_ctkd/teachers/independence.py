"""Outputs of a row that depend on this row alone, whatever a model mixes into a batch or draws at random."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils.logging import get_logger

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.teachers.features import FeatureReader
from hf_ctkd.teachers.layers import MOST_LAYERS
from hf_ctkd.teachers.micro_batches import joined
from hf_ctkd.types import ModelOutputs

logger = get_logger(__name__)

_LARGEST_SHARE = 0.02
"""Largest difference between a row alone and in a batch, as a share of the difference between rows."""
_ROUNDING = 1e-4
_COARSE_ROUNDING = 2e-3
_HALF_ROUNDING = 5e-2
"""What rounding may add to it, as a share of the row, since kernels for other batch sizes sum in another order: in
float32 on a CPU, on a GPU whose convolutions round to 10 bits, and in half precision."""


_SECOND = torch.tensor([2, 3])
_GPUS = ("cuda", "xpu")


class RowOrder(Enum):
    """How the rows of a batch are run."""

    TOGETHER = "together"
    BY_LENGTH = "with rows of the same length, without padding"
    ALONE = "one by one"


class IndependentReader:
    """Runs a frozen model so that each row has the same outputs in every batch and every run.

    Most models do so by themselves. Some read the padding of a text (FNet, ConvBERT, Funnel): their rows are run with
    rows of the same length. Some draw random numbers for each row (YOSO), or compare rows: theirs are run one by one.
    What a model needs is found by running two rows of the first batch alone and among the others, and again with the
    first batch that has padding. Random numbers are drawn from a fixed seed and leave the caller's as they were.

    Args:
        reader: of the model, in evaluation mode.
        seed: of what the model draws.

    Example:
        >>> reader = IndependentReader(FeatureReader(model))  # doctest: +SKIP
        >>> reader.read({"pixel_values": pixels}).features.shape  # doctest: +SKIP
        torch.Size([32, 768])
    """

    def __init__(self, reader: FeatureReader, seed: int = 0) -> None:
        self.reader = reader
        self.seed = seed
        self.order = RowOrder.TOGETHER
        self._checked: set[bool] = set()

    def read(
        self,
        batch: Mapping[str, Tensor],
        hidden: Sequence[int] = (),
        *,
        layers: bool = False,
        max_layers: int = MOST_LAYERS,
    ) -> ModelOutputs:
        """Run the model on a preprocessed batch; see `FeatureReader.read`.

        Args:
            batch: the model's own inputs, without labels.
            hidden: indices into the model's `hidden_states`.
            layers: also pool layers of all depths.
            max_layers: largest number of these, at least 1.

        Raises:
            TeacherUnavailableError: if a row gives other outputs each time that it is run, even alone.
        """
        inputs = _unmasked(self.reader.model, batch)

        def run(rows: Mapping[str, Tensor]) -> ModelOutputs:
            try:
                with _seeded(self.seed, self.reader.model.device):
                    outputs = self.reader.read(rows, hidden, layers=layers, max_layers=max_layers)
            except InvalidArgumentError as error:
                if hidden:  # an argument of the caller, and no fault of the teacher
                    raise
                raise TeacherUnavailableError(str(error), ProblemCode.INCOMPATIBLE) from error
            if len(outputs) != _count(rows):
                raise TeacherUnavailableError(
                    f"its features have shape {list(outputs.features.shape)}, expected [{_count(rows)}, width]",
                    ProblemCode.INCOMPATIBLE,
                )
            return outputs

        if self.order is RowOrder.TOGETHER and True in self._checked:
            return run(inputs)
        lengths = _lengths(inputs)
        padded = lengths is not None and len(set(lengths)) > 1
        if self.order is not RowOrder.ALONE and _count(inputs) > 1 and padded not in self._checked:
            self._checked.add(padded)
            self._choose_order(run, inputs, lengths)
        return _in_order(self.order, run, inputs, lengths)

    def _choose_order(
        self,
        run: Callable[[Mapping[str, Tensor]], ModelOutputs],
        inputs: Mapping[str, Tensor],
        lengths: list[int] | None,
    ) -> None:
        """Take the first order in which two rows give what they give alone."""
        last = _count(inputs) - 1 if lengths is None else min(range(len(lengths)), key=lengths.__getitem__)
        rows = [0, last or 1]
        alone = _in_order(RowOrder.ALONE, run, _rows(inputs, rows), lengths=None)
        # Each of them twice: the second is run with another row, and is not the first that a number is drawn for.
        twice = _rows(inputs, rows * 2)
        tries = {
            RowOrder.TOGETHER: lambda: run(inputs).select(torch.tensor(rows)),
            RowOrder.BY_LENGTH: lambda: _in_order(RowOrder.BY_LENGTH, run, twice, _lengths(twice)).select(_SECOND),
            RowOrder.ALONE: lambda: _in_order(RowOrder.ALONE, run, twice, lengths=None).select(_SECOND),
        }
        orders = [order for order in RowOrder if order is not RowOrder.BY_LENGTH or lengths is not None]
        order = next((order for order in orders[orders.index(self.order) :] if _same(tries[order](), alone)), None)
        if order is None:
            raise TeacherUnavailableError(
                "gives other outputs for the same row each time that it is run. Choose another teacher.",
                ProblemCode.INCOMPATIBLE,
            )
        if order is not self.order:
            logger.warning(
                f"{type(self.reader.model).__name__} gives a row other outputs in another batch: its rows are run "
                f"{order.value}, which takes longer."
            )
        self.order = order


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, and leave the random numbers of PyTorch and NumPy as they were: BigBird moves both."""
    numpy_state = np.random.get_state()
    devices = [device] if device.type in _GPUS else []
    try:
        with torch.random.fork_rng(devices=devices, device_type=device.type if devices else "cuda"):
            torch.default_generator.manual_seed(seed)
            if devices:
                module = torch.get_device_module(device)
                with module.device(device):
                    module.manual_seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)


def _unmasked(model: PreTrainedModel, batch: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The inputs of a masked autoencoder with nothing masked and its patches in order, others as they are."""
    settings = model.config.to_dict()
    if model.config.model_type != "vit_mae" or "noise" in batch:
        return batch
    model.config.mask_ratio = 0.0
    height, width = batch["pixel_values"].shape[-2:]
    patches = (height // settings["patch_size"]) * (width // settings["patch_size"])
    order = torch.arange(patches, device=batch["pixel_values"].device, dtype=torch.float32)
    return {**batch, "noise": order.expand(len(batch["pixel_values"]), -1)}


def _count(inputs: Mapping[str, Tensor]) -> int:
    return len(next(iter(inputs.values())))


def _lengths(inputs: Mapping[str, Tensor]) -> list[int] | None:
    """How many tokens of each text are no padding; None for images, and for texts without a mask."""
    mask = inputs.get("attention_mask")
    if "input_ids" not in inputs or mask is None or mask.shape != inputs["input_ids"].shape:
        return None
    return mask.sum(1).tolist()


def _rows(inputs: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    return {name: tensor[list(rows)] for name, tensor in inputs.items()}


def _in_order(
    order: RowOrder,
    run: Callable[[Mapping[str, Tensor]], ModelOutputs],
    inputs: Mapping[str, Tensor],
    lengths: list[int] | None,
) -> ModelOutputs:
    if order is RowOrder.TOGETHER:
        return run(inputs)
    count = _count(inputs)
    if order is RowOrder.ALONE or lengths is None:
        groups = [[row] for row in range(count)]
    else:
        groups = [[row for row in range(count) if lengths[row] == length] for length in dict.fromkeys(lengths)]
    parts = [run(_without_padding(_rows(inputs, group))) for group in groups]
    places = torch.tensor([row for group in groups for row in group]).argsort()
    return joined(parts).select(places)


def _without_padding(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Texts of the same length without their padding, on whichever side it is."""
    mask = inputs.get("attention_mask")
    if "input_ids" not in inputs or mask is None or mask.shape != inputs["input_ids"].shape:
        return dict(inputs)
    is_token, count = mask.bool(), len(mask)
    return {
        name: tensor[is_token].unflatten(0, (count, -1)) if tensor.shape[:2] == mask.shape else tensor
        for name, tensor in inputs.items()
    }


def _same(outputs: ModelOutputs, alone: ModelOutputs) -> bool:
    pairs = [(outputs.features, alone.features), *zip(outputs.layers, alone.layers, strict=True)]
    if outputs.logits is not None and alone.logits is not None:
        pairs.append((outputs.logits, alone.logits))
    return all(_same_rows(batch.flatten(1), single.flatten(1)) for batch, single in pairs)


def _same_rows(batch: Float[Tensor, "rows width"], alone: Float[Tensor, "rows width"]) -> bool:
    autocast = torch.is_autocast_enabled(batch.device.type)
    rounding = _ROUNDING if batch.device.type == "cpu" else _COARSE_ROUNDING
    rounding = _HALF_ROUNDING if autocast or batch.dtype.itemsize < 4 else rounding
    batch, alone = batch.float(), alone.float()
    if not (batch.isfinite().all() and alone.isfinite().all()):
        return True  # refused where outputs are checked
    spread = (alone[0] - alone[1]).norm()
    allowed = _LARGEST_SHARE * spread + rounding * alone.norm(dim=1)
    return bool(((batch - alone).norm(dim=1) <= allowed).all())
