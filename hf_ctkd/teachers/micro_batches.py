"""A batch that does not fit the memory is run in parts, halved until they do."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
import torch.nn.functional as F
from accelerate.utils.memory import clear_device_cache

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.types import Hidden, ModelOutputs

Part = TypeVar("Part")


def in_micro_batches(
    run: Callable[[slice], Part | None], rows: int, size: int, device: torch.device
) -> tuple[list[Part], int]:
    """What a function gives for the rows of a batch, in as few parts as fit the memory.

    Args:
        run: from a slice of the rows to its result; None where that does not fit the memory.
        rows: of the batch.
        size: rows of a part, to begin with.
        device: whose memory it is, for the message.

    Returns:
        The results in the order of the rows, and the size that fitted, to begin the next batch with.

    Raises:
        TeacherUnavailableError: if a single row does not fit.
    """
    # accelerate's find_executable_batch_size would run all batches again from the first one, collects garbage before
    # every call (0.5 s), and knows "does not fit even alone" only by the text of a RuntimeError.
    parts, start = [], 0
    while start < rows:
        stop = min(start + size, rows)
        part = run(slice(start, stop))
        if part is not None:
            parts.append(part)
            start = stop
        elif stop - start > 1:
            size = (stop - start) // 2
            clear_device_cache(garbage_collection=True)
        else:
            raise TeacherUnavailableError(
                f"a single row does not fit the memory of {device}. Choose a smaller teacher, or free some memory.",
                ProblemCode.TOO_LARGE,
            )
    return parts, size


def joined(parts: Sequence[ModelOutputs]) -> ModelOutputs:
    """The outputs of a batch from those of its parts; hidden layers of texts are padded to the longest part.

    Args:
        parts: of one model, in the order of the rows.
    """
    first = parts[0]
    return ModelOutputs(
        torch.cat([part.features for part in parts]),
        None if first.logits is None else torch.cat([part.logits for part in parts if part.logits is not None]),
        tuple(_joined_hidden([part.hidden[index] for part in parts]) for index in range(len(first.hidden))),
        tuple(torch.cat([part.layers[index] for part in parts]) for index in range(len(first.layers))),
        None if first.dense is None else torch.cat([part.dense for part in parts if part.dense is not None]),
    )


def _joined_hidden(parts: Sequence[Hidden]) -> Hidden:
    """One layer of all rows, padded to the longest."""
    if len(parts[0].grid) == 2:
        return Hidden(torch.cat([part.values for part in parts]), parts[0].grid)
    positions = max(part.values.shape[1] for part in parts)
    values, masks = [], []
    for part in parts:
        padding = positions - part.values.shape[1]
        mask = torch.ones(part.values.shape[:2], dtype=torch.bool, device=part.values.device)
        values.append(F.pad(part.values, (0, 0, 0, padding)))
        masks.append(F.pad(mask if part.mask is None else part.mask, (0, padding)))
    return Hidden(torch.cat(values), (positions,), torch.cat(masks))
