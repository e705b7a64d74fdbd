"""How much memory the blocks of a solve may take, where the user does not say."""

import torch

CPU_BYTES = 2**28
"""Blocks on a processor: past its caches larger ones are no faster. Also where the device cannot be asked."""
_SHARE = 0.25
"""Of the free memory of an accelerator: what is around the solver, such as a training, needs the rest."""


def block_bytes(device: torch.device, given: int | None) -> int:
    """The limit that was given, or a quarter of what is free on an accelerator, at least 256 MiB.

    Inside a CUDA graph and in a graph that `torch.compile` traces, which must not depend on what is free, 256 MiB.

    Args:
        device: of the problem.
        given: by the user; None where this is to decide.
    """
    if given is not None:
        return given
    if device.type != "cuda" or torch.compiler.is_compiling() or torch.cuda.is_current_stream_capturing():
        return CPU_BYTES
    free, _ = torch.cuda.mem_get_info(device)
    # What torch has taken from the device but does not use serves as well.
    free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return max(CPU_BYTES, int(free * _SHARE))
