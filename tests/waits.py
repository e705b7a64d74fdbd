"""What makes the host wait for an accelerator, found on a machine that has none."""

import contextlib
from collections import Counter
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

OPERATIONS = ("_local_scalar_dense", "nonzero", "unique", "masked_select", "is_nonzero", "equal.default")
"""Of the dispatcher: their result, or the shape of their result, is what the host must know."""
METHODS = {Tensor.tolist: "tolist", Tensor.cpu: "cpu", Tensor.numpy: "numpy"}
"""Of tensors, which reach the dispatcher as nothing of the kind where the tensor is on the CPU."""


class _Dispatched(TorchDispatchMode):
    def __init__(self, names: Counter) -> None:
        super().__init__()
        self.names = names

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = str(function)
        indices = args[1] if name.startswith("aten.index") and isinstance(args[1], (list, tuple)) else ()
        by_mask = any(torch.is_tensor(index) and index.dtype == torch.bool for index in indices)
        if by_mask or any(operation in name for operation in OPERATIONS):
            self.names["index by a mask" if by_mask else name] += 1
        return function(*args, **(kwargs or {}))


class _Called(TorchFunctionMode):
    def __init__(self, names: Counter) -> None:
        super().__init__()
        self.names = names

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in METHODS:
            self.names[METHODS[function]] += 1
        before = self.names.copy()
        result = function(*args, **(kwargs or {}))
        if function is torch.nn.functional.one_hot:  # compares its classes with their number on the CPU alone
            self.names.clear()
            self.names.update(before)
        return result


@contextlib.contextmanager
def counted_waits() -> Iterator[Counter]:
    """Counts inside it by name, whatever device the tensors are on."""
    names: Counter = Counter()
    with _Called(names), _Dispatched(names):
        yield names


@contextlib.contextmanager
def unreadable_device(monkeypatch) -> Iterator[str]:
    """A device from which nothing can be read, and whose tensors refuse to mix with the CPU's: `meta`.

    A step that runs on it waits for nothing and leaves nothing behind on the host. Autocast, which it lacks, is
    switched off there.
    """
    autocast = torch.autocast

    def without_meta(device_type, *args, **kwargs):
        return contextlib.nullcontext() if device_type == "meta" else autocast(device_type, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch, "autocast", without_meta)
        yield "meta"
