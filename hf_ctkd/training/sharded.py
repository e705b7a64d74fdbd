"""Students whose weights are shared out over processes, by DeepSpeed ZeRO-3 or FSDP."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from transformers.integrations import is_deepspeed_zero3_enabled

from hf_ctkd.errors import InvalidArgumentError


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Have all weights of a model in every process, to read them or to run the model before training.

    Under ZeRO-3 transformers loads a model with its weights shared out already, and it cannot run until DeepSpeed has
    wrapped it. Elsewhere this does nothing. Every process must come by; changes of the weights are lost.

    Args:
        model: not wrapped.

    Raises:
        InvalidArgumentError: if FSDP is to load the weights in one process alone.
    """
    state = AcceleratorState()
    if state.distributed_type == DistributedType.FSDP and state.fsdp_plugin.cpu_ram_efficient_loading:
        raise InvalidArgumentError(
            "FSDP must not have `cpu_ram_efficient_loading`, which gives the weights to one process alone: every "
            "process runs the student before training. Set `fsdp_cpu_ram_efficient_loading: false` in the file for "
            "`accelerate launch`, as examples/accelerate/fsdp2.yaml does, or `cpu_ram_efficient_loading` to false in "
            "`--fsdp_config`."
        )
    if not is_deepspeed_zero3_enabled():
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=None):
        yield


def load_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load weights that every process has, whatever part of the model it holds.

    Args:
        model: not wrapped, or a part of a wrapped one.
        weights: by their names in the model.
    """
    if is_deepspeed_zero3_enabled():
        import deepspeed

        with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0):
            model.load_state_dict(weights)
    elif is_sharded():
        set_model_state_dict(model, dict(weights), options=StateDictOptions(full_state_dict=True))
    else:
        model.load_state_dict(weights)


def is_sharded() -> bool:
    """Whether a process holds but a part of the student's weights, so that it cannot run the student alone."""
    return is_deepspeed_zero3_enabled() or AcceleratorState().distributed_type == DistributedType.FSDP


def count_parameters(model: nn.Module) -> int:
    """Weights of a model, those that other processes hold among them.

    Args:
        model: wrapped or not.

    Example:
        >>> count_parameters(nn.Linear(3, 2))
        8
    """
    # Under ZeRO-3 a parameter is empty but for its share, and keeps its size beside it.
    return sum(vars(parameter).get("ds_numel", parameter.numel()) for parameter in model.parameters())
