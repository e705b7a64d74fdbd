"""A student as an ONNX file, which runs without PyTorch."""

import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image as PILImage
from torch import Tensor, nn

from hf_ctkd.data import Modality, RowInput
from hf_ctkd.errors import InvalidArgumentError, MissingExtraError
from hf_ctkd.evaluation.models import TrainedModel
from hf_ctkd.hub import candidates_named
from hf_ctkd.records import write_bytes
from hf_ctkd.teachers import LoadOptions

_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_REPEATS = 30
_LARGEST_DIFFERENCE = 1e-3
"""Relative to the largest logit: other kernels sum in another order, and some approximate activations."""
_TEXTS = ("a short text", "a text of a few more words than the one before")
_PIXELS = 256


@dataclass(frozen=True)
class OnnxExport:
    """An exported student, compared with the original on this machine.

    Args:
        path: of the file.
        inputs: names of its inputs, as the student's tokenizer or image processor gives them; the output is `logits`.
        difference: largest difference between its logits and the student's.
        milliseconds: to run one row with onnxruntime on the CPU; median.
        milliseconds_before: the same with PyTorch.
    """

    path: Path
    inputs: tuple[str, ...]
    difference: float
    milliseconds: float
    milliseconds_before: float


class _Logits(nn.Module):
    """A student as a function from tensors in a fixed order to logits."""

    def __init__(self, model: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.model = model
        self.names = tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.model(**dict(zip(self.names, inputs, strict=True))).logits


def export_onnx(
    student: str | Path,
    output: str | Path,
    *,
    options: LoadOptions = LoadOptions(),  # noqa: B008 (frozen)
) -> OnnxExport:
    """Write a student as one ONNX file, and check on a few rows that it gives the same logits.

    Use it to serve a student without PyTorch, mostly faster. Preprocessing stays outside: run the student's tokenizer
    or image processor first. Numbers of rows and tokens may vary, the size of images may not. Not for quantised or
    optimised graphs; `optimum`, in an environment of its own, makes these from the same folder.

    Args:
        student: folder or id on the Hub, with a classification or regression head.
        output: file to write, which ends in .onnx.
        options: how to fetch and load the student.

    Raises:
        MissingExtraError: without the packages of the extra `onnx`.
        InvalidArgumentError: a student that cannot be loaded or exported, or whose export gives other logits; nothing
            is written then.

    Example:
        >>> export = export_onnx("image-student", "student.onnx")  # doctest: +SKIP
        >>> session = onnxruntime.InferenceSession("student.onnx")  # doctest: +SKIP
        >>> (logits,) = session.run(None, {"pixel_values": pixels.numpy()})  # doctest: +SKIP
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"ONNX needs {', '.join(missing)}. Install them with `pip install hf_ctkd[onnx]`.")
    if Path(output).suffix != ".onnx":
        raise InvalidArgumentError(f"`output` {str(output)!r} must end in .onnx.")
    modality = _modality(student, options)
    model = TrainedModel(student, modality, "student", accelerator=Accelerator(cpu=True), options=options)
    batch = model.inputs(_examples(modality))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "student.onnx"
        _write(model, batch, file)
        difference, milliseconds, before = _compare(model, batch, file)
        write_bytes(output, file.read_bytes())
    return OnnxExport(Path(output), tuple(batch), difference, milliseconds, before)


def _modality(student: str | Path, options: LoadOptions) -> Modality:
    tasks = {candidate.task for candidate in candidates_named(student, token=options.token)}
    return "image" if any(task is not None and "image" in task for task in tasks) else "text"


def _examples(modality: Modality) -> list[RowInput]:
    if modality == "text":
        return list(_TEXTS)
    noise = np.random.default_rng(0).integers(0, 256, (2, _PIXELS, _PIXELS, 3), dtype=np.uint8)
    return [PILImage.fromarray(pixels) for pixels in noise]


def _write(model: TrainedModel, batch: dict[str, Tensor], file: Path) -> None:
    rows, tokens = torch.export.Dim("rows", min=1, max=1 << 16), torch.export.Dim("tokens", min=1, max=1 << 16)
    axes = tuple({0: rows, 1: tokens} if tensor.ndim == 2 else {0: rows} for tensor in batch.values())
    try:
        # The exporter of torch warns of its own deprecations.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                _Logits(model.model, list(batch)).eval(),
                tuple(batch.values()),
                file,
                dynamo=True,
                input_names=list(batch),
                output_names=["logits"],
                dynamic_shapes=(axes,),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise InvalidArgumentError(
            f"`student` {model.name!r} cannot be exported: torch.onnx refuses its {type(model.model).__name__}. Use "
            "`torch.export` or another architecture."
        ) from error


def _compare(model: TrainedModel, batch: dict[str, Tensor], file: Path) -> tuple[float, float, float]:
    """Largest difference of the logits, and milliseconds for one row: exported, and as it was.

    Raises:
        InvalidArgumentError: if the logits differ.
    """
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    plain = _Logits(model.model, list(batch))
    difference = 0.0
    with torch.no_grad():
        for rows in (len(_TEXTS), 1):  # another number of rows than it was exported with
            part = {name: tensor[:rows] for name, tensor in batch.items()}
            expected = plain(*part.values()).numpy()
            (logits,) = session.run(None, {name: tensor.numpy() for name, tensor in part.items()})
            # Not `max`, which would drop a NaN.
            difference = float(np.maximum(difference, np.abs(logits - expected).max()))
        if not difference <= _LARGEST_DIFFERENCE * max(1.0, float(np.abs(expected).max())):
            raise InvalidArgumentError(
                f"`student` {model.name!r} gives other logits once exported: they differ by {difference:.1e}. Use "
                "`torch.export` or another architecture."
            )
        arrays = {name: tensor.numpy() for name, tensor in part.items()}
        exported, before = (
            _milliseconds(lambda: session.run(None, arrays)),
            _milliseconds(lambda: plain(*part.values())),
        )
    return difference, exported, before


def _milliseconds(run: Callable[[], object]) -> float:
    run()
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)
