"""What an accelerator is to compute as the CPU does: values of losses, metrics, solvers, extraction and a training.

Each function takes a device, so that the usual tests can run it on the CPU, and returns tensors on the CPU by name.
"""

from dataclasses import replace
from functools import partial

import tiny
import torch
from registry import LOSSES, METRICS
from torch import Tensor

from hf_ctkd.data import TargetRows
from hf_ctkd.hub import folder_teachers
from hf_ctkd.losses import RowTransportLoss
from hf_ctkd.ot import CloudProblem, CloudSinkhorn, OTProblem, Sinkhorn, transport_rows
from hf_ctkd.teachers import Teacher, compute_outputs
from hf_ctkd.testing import LossCase
from hf_ctkd.testing.metrics import example
from hf_ctkd.training import DistillationConfig, DistillationTrainer
from hf_ctkd.types import ModelOutputs

Values = dict[str, Tensor]


def assert_agree(values: Values, expected: Values, tolerance: float) -> None:
    """Every value within a tolerance, relative to the largest of its tensor and absolute."""
    assert values.keys() == expected.keys()
    for name, tensor in expected.items():
        scale = float(tensor.abs().max()) if tensor.numel() else 0.0
        torch.testing.assert_close(
            values[name].double(),
            tensor.double(),
            rtol=0,
            atol=tolerance * (1 + scale),
            equal_nan=True,
            msg=lambda text, name=name: f"{name}: {text}",
        )


# ---- losses -------------------------------------------------------------------------------------------------------


def loss_values(name: str, device: str) -> Values:
    """Terms, gradients of the student's outputs and of the loss's parameters, with kept targets where it has them."""
    torch.manual_seed(0)
    loss = LOSSES[name]()
    case = LossCase.of(len(loss.hidden))
    loss.setup(case.context)
    targets = loss.row_targets(case.context)
    loss.to(device)
    values = _step(loss, case, device, "forward", lambda student, labels: _on_case(loss, case, student, labels))
    if targets is None:
        return values
    rows = targets[: len(case.labels)].to(device)
    kept = _step(loss, case, device, "kept", lambda student, labels: loss.on_targets(student, rows, labels))
    return {"targets": targets.cpu(), **values, **kept}


def _on_case(loss, case, student, labels):
    return replace(
        case, student=student, teachers=tuple(part.to(labels.device) for part in case.teachers), labels=labels
    ).terms(loss)


def _step(loss, case, device, way, terms_of) -> Values:
    student, leaves = _tracked(case.student, device)
    loss.zero_grad()
    terms = terms_of(student, case.labels.to(device))
    sum(terms.values()).backward()
    gradients = {f"gradient of {name}": leaf.grad for name, leaf in leaves.items()}
    gradients |= {f"gradient of the loss's {name}": tensor.grad for name, tensor in loss.named_parameters()}
    named = {**terms, **{name: gradient for name, gradient in gradients.items() if gradient is not None}}
    return {f"{way}, {name}": tensor.detach().cpu() for name, tensor in named.items()}


def _tracked(outputs: ModelOutputs, device: str) -> tuple[ModelOutputs, Values]:
    tensors = {"features": outputs.features, "logits": outputs.logits}
    tensors |= {f"layer {index}": layer.values for index, layer in enumerate(outputs.hidden)}
    leaves = {name: tensor.detach().to(device).requires_grad_() for name, tensor in tensors.items()}
    outputs = outputs.to(device)
    hidden = tuple(replace(layer, values=leaves[f"layer {index}"]) for index, layer in enumerate(outputs.hidden))
    return replace(outputs, features=leaves["features"], logits=leaves["logits"], hidden=hidden), leaves


# ---- metrics ------------------------------------------------------------------------------------------------------


def metric_value(name: str, device: str) -> Values:
    """The score of outputs that are on the device."""
    outputs, labels = example(2.0)
    return {"score": torch.tensor(METRICS[name]().score(outputs.to(device), labels.to(device)))}


# ---- solvers ------------------------------------------------------------------------------------------------------


def _sinkhorn(device: str, dtype: torch.dtype, *, shared: bool, **settings: object) -> Values:
    generator = torch.Generator().manual_seed(0)
    cost = torch.rand(*(() if shared else (5,)), 9, 6, generator=generator)
    a, b = (torch.randn(5, size, generator=generator).softmax(1) for size in (9, 6))
    leaves = [tensor.to(device, dtype).requires_grad_() for tensor in (cost, a, b)]
    solution = Sinkhorn(tolerance=1e-6, **settings).solve(OTProblem(*leaves))
    solution.value.sum().backward()
    named = {"value": solution.value, "cost": solution.cost, "plan": solution.plan()}
    named |= {f"gradient of {name}": leaf.grad for name, leaf in zip(("cost", "a", "b"), leaves, strict=True)}
    return {name: tensor.detach().cpu() for name, tensor in named.items()}


def _clouds(device: str, dtype: torch.dtype) -> Values:
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(size, 3, generator=generator).to(device, dtype) for size in (40, 30))
    solution = CloudSinkhorn(0.05, tolerance=1e-6, max_bytes=4_000).solve(CloudProblem(x, y))
    return {"value": solution.value.cpu(), "cost": solution.cost.cpu()}


def _rows(device: str, dtype: torch.dtype) -> Values:
    generator = torch.Generator().manual_seed(0)
    log_posterior = torch.randn(50, 4, generator=generator).log_softmax(1).to(device, dtype)
    transport = transport_rows(log_posterior, torch.full((4,), 0.25).to(device, dtype), tolerance=1e-6)
    return {"potential": transport.potential.cpu()}


SOLVERS = {
    "shared cost": partial(_sinkhorn, shared=True, epsilon=0.1),
    "one cost each": partial(_sinkhorn, shared=False, epsilon=0.1),
    "shared cost, sharp": partial(_sinkhorn, shared=True, epsilon=0.005),
    "one cost each, sharp": partial(_sinkhorn, shared=False, epsilon=0.005),
    "shared cost, relaxed": partial(_sinkhorn, shared=True, epsilon=0.1, tau_a=1.0, tau_b=2.0),
    "one cost each, relaxed": partial(_sinkhorn, shared=False, epsilon=0.1, tau_a=1.0, tau_b=2.0),
    "blocks": partial(_sinkhorn, shared=False, epsilon=0.1, max_bytes=4_000),
    "fixed steps": partial(_sinkhorn, shared=True, epsilon=0.1, max_steps=60, check_every=60, on_failure="report"),
    "clouds": _clouds,
    "rows onto classes": _rows,
}
"""Each from a device and a type to its values."""


# ---- extraction and training --------------------------------------------------------------------------------------

TEACHERS = {"image": tiny.save_image_teacher, "text": tiny.save_text_teacher}


def extracted(modality: str, device: str, folder) -> Values:
    """A teacher's outputs over rows, layers included."""
    candidate = next(iter(folder_teachers(TEACHERS[modality](folder / modality))))
    rows = TargetRows.of(tiny.image_rows() if modality == "image" else tiny.text_rows())
    teacher = Teacher.load(candidate, modality, device=device)
    outputs = compute_outputs(teacher, rows, batch_size=7, layers=True, progress=False, cache_dir=folder / "cache")
    outputs = outputs.select(torch.arange(len(rows)))
    return {"features": outputs.features, "logits": outputs.logits, **dict(_numbered(outputs.layers))}


def _numbered(layers):
    return ((f"layer {index}", layer) for index, layer in enumerate(layers))


def trained(way: str, device: str, folder) -> Values:
    """Logged terms of four steps and the student's weights after them, with kept outputs or a teacher at every step."""
    torch.manual_seed(0)
    teacher = str(tiny.save_image_teacher(folder / "teacher"))
    args = DistillationConfig(
        str(folder / "student"),
        max_steps=4,
        per_device_train_batch_size=8,
        learning_rate=1e-2,
        use_cpu=device == "cpu",
        disable_tqdm=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        cache_teacher_outputs=way == "kept",
        cache_dir=str(folder / "cache"),
    )
    trainer = DistillationTrainer(
        tiny.normless_student(),
        args,
        teachers=[teacher],
        loss=RowTransportLoss(),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
    )
    assert trainer.teacher_runner.teachers[0].model.device.type == torch.device(device).type
    trainer.train()
    logged = [entry for entry in trainer.state.log_history if "task_loss" in entry]
    assert len(logged) == 4
    terms = {name: torch.tensor([entry[name] for entry in logged]) for name in ("loss", "task_loss", "row_transport")}
    weights = {f"weights, {name}": value.detach().cpu() for name, value in trainer.student.named_parameters()}
    return {**terms, **weights}
