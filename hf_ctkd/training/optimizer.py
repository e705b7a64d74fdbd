"""The optimizer of student and loss: groups of parameters with a learning rate that the loss sets."""

import logging

import torch

from hf_ctkd.losses import DistillationLoss

logger = logging.getLogger(__name__)


def with_rates_of_loss(optimizer: torch.optim.Optimizer, loss: DistillationLoss | None) -> torch.optim.Optimizer:
    """The optimizer with one more group for each loss that sets `DistillationLoss.learning_rate`.

    A learning rate schedule scales the rate of such a group as it scales the student's. A loss whose parameters were
    replaced by those of a sharding plugin keeps the student's learning rate, with a warning.

    Args:
        optimizer: of the student and the loss, before any step.
        loss: after `setup`; its parts are looked at too.
    """
    for part in () if loss is None else loss.modules():
        if not isinstance(part, DistillationLoss) or part.learning_rate is None:
            continue
        of_part = {id(parameter) for parameter in part.parameters()}
        moved = [p for group in optimizer.param_groups for p in group["params"] if id(p) in of_part]
        if len(moved) < len(of_part):
            logger.warning(
                f"The loss {part.name} trains at the student's learning rate instead of {part.learning_rate}, as the "
                "optimizer does not hold its parameters."
            )
        elif moved:
            for group in optimizer.param_groups:
                group["params"] = [p for p in group["params"] if id(p) not in of_part]
            optimizer.add_param_group({"params": moved, "lr": part.learning_rate, "weight_decay": 0.0})
    return optimizer
