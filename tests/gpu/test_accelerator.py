"""On an accelerator everything is as on the CPU; skipped where there is none. `make test-gpu` runs them."""

import pytest
import torch
from gpu_values import SOLVERS, TEACHERS, assert_agree, extracted, loss_values, metric_value, trained
from registry import LOSSES, METRICS

pytestmark = pytest.mark.gpu

SINGLE = 1e-4
"""Tolerance relative to the largest value: sums of a few hundred terms in another order, in float32."""
# Eigenvectors and solvers that stop at an error of 1e-3 may end at another point within it.
OF_LOSS = {"LabelTransportLoss": 2e-3, "LabelTransportLoss, sharp": 2e-3}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    assert_agree(loss_values(name, "cuda"), loss_values(name, "cpu"), OF_LOSS.get(name, SINGLE))


@pytest.mark.parametrize("name", METRICS)
def test_metrics(name):
    assert_agree(metric_value(name, "cuda"), metric_value(name, "cpu"), SINGLE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", SOLVERS)
def test_solvers(name, dtype):
    # Both stop below a marginal error of 1e-6, at points that differ by as much.
    tolerance = SINGLE if dtype == torch.float32 else 1e-5
    assert_agree(SOLVERS[name]("cuda", dtype), SOLVERS[name]("cpu", dtype), tolerance)


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_solvers_under_autocast_and_with_tf32(autocast):
    expected = SOLVERS["shared cost"]("cpu", torch.float32)
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        with torch.autocast("cuda", autocast):
            values = SOLVERS["shared cost"]("cuda", torch.float32)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False
    assert_agree(values, expected, SINGLE)


@pytest.mark.parametrize("modality", TEACHERS)
def test_extraction(modality, tmp_path):
    on_device, on_cpu = (extracted(modality, device, tmp_path / device) for device in ("cuda", "cpu"))
    assert_agree(on_device, on_cpu, 2e-3)  # cuDNN may round convolutions to TF32


@pytest.mark.parametrize("way", ["kept", "online"])
def test_a_short_training(way, tmp_path):
    assert_agree(trained(way, "cuda", tmp_path / "cuda"), trained(way, "cpu", tmp_path / "cpu"), 5e-3)
