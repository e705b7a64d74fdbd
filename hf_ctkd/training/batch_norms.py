"""Batch norms of architectures that transformers took over from TensorFlow."""

import logging

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from transformers import TrainingArguments

logger = logging.getLogger(__name__)

MOMENTUM = 0.1
"""Share of the newest batch in the statistics that a batch norm evaluates with: torch's own default."""
_LARGEST = 0.5


def average_over_batches(model: nn.Module) -> None:
    """Let batch norms evaluate with the statistics of more than the last training batch, and say so.

    MobileNetV1, MobileNetV2, EfficientNet and ALIGN of transformers have the momentum of TensorFlow, the share of what
    stays (0.99 to 0.9997). torch reads it as the share of the newest batch, so that a trained model is evaluated with
    what its last batch happened to hold. Others are left as they are.

    Args:
        model: before its training.

    Example:
        >>> norm = nn.BatchNorm2d(8, momentum=0.997)
        >>> average_over_batches(norm)
        >>> norm.momentum
        0.1
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and _newest(module) > _LARGEST]
    if not norms:
        return
    share = _newest(norms[0])
    for norm in norms:
        norm.momentum = MOMENTUM
    logger.warning(
        f"{len(norms)} batch norms of {type(model).__name__} would evaluate with the last training batch alone: their "
        f"momentum {share:g} is that of TensorFlow, where it is the share of what stays. It is {MOMENTUM:g} now."
    )


def drops_single_row(model: nn.Module, rows: int, args: TrainingArguments) -> bool:
    """Whether epochs are to leave out their last batch: one row, of whose 1 x 1 features a batch norm has no variance.

    torch raises an error there. Rows are shuffled, so that each epoch leaves out another one. A warning is logged.

    Args:
        model: the student.
        rows: that an epoch reads.
        args: of the run.
    """
    single = rows > 1 and rows % args.train_batch_size == 1 and args.train_batch_size > 1
    if not single or args.world_size > 1 or not any(isinstance(module, _BatchNorm) for module in model.modules()):
        return False  # several processes fill their last batches up
    logger.warning(
        f"Each epoch leaves out one of its {rows:,} rows: the last batch would hold a single row, of which batch norms "
        f"of {type(model).__name__} have no variance."
    )
    return True


def _newest(norm: _BatchNorm) -> float:
    """Share of the newest batch; 0 where all batches count alike, or none does."""
    return norm.momentum if norm.track_running_stats and norm.momentum is not None else 0.0
