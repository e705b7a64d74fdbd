"""The code of the tests of an accelerator, on the CPU: against another precision, and where a value is wrong."""

import pytest
import torch
from gpu_values import SOLVERS, assert_agree, extracted, loss_values, metric_value, trained
from registry import LOSSES, METRICS


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers_agree_between_precisions(name):
    assert_agree(SOLVERS[name]("cpu", torch.float32), SOLVERS[name]("cpu", torch.float64), 1e-4)


@pytest.mark.parametrize("name", ["KLLoss", "ProjectionLoss of layers", "CommitteeLoss, top 1", "RowTransportLoss"])
def test_losses_agree_with_themselves_and_none_is_empty(name):
    values = loss_values(name, "cpu")
    assert any("gradient of" in key and bool(tensor.any()) for key, tensor in values.items())
    assert_agree(values, loss_values(name, "cpu"), 0.0)
    spoiled = {key: tensor * 1.01 + 0.01 for key, tensor in values.items()}
    with pytest.raises(AssertionError, match="forward|kept|targets"):
        assert_agree(spoiled, values, 1e-4)


def test_every_public_loss_and_metric_is_among_those_compared():
    from hf_ctkd import losses, metrics

    assert set(losses.__all__) - {"DistillationLoss", "LossContext"} <= set(LOSSES)
    assert set(metrics.__all__) - {"TransferabilityMetric"} == set(METRICS)


@pytest.mark.parametrize("name", ["LEEP", "TransportScore", "OTCE"])
def test_metrics_agree_with_themselves(name):
    assert_agree(metric_value(name, "cpu"), metric_value(name, "cpu"), 0.0)


def test_missing_and_differing_values_are_named():
    with pytest.raises(AssertionError):
        assert_agree({}, {"a": torch.ones(2)}, 1.0)
    with pytest.raises(AssertionError, match="weights of b: "):
        assert_agree({"weights of b": torch.ones(2)}, {"weights of b": torch.ones(2) + 1}, 0.1)


def test_extraction_and_training_run(tmp_path):
    outputs = extracted("text", "cpu", tmp_path)
    assert {"features", "logits", "layer 0"} <= outputs.keys()
    kept, online = trained("kept", "cpu", tmp_path / "kept"), trained("online", "cpu", tmp_path / "online")
    assert_agree(online, kept, 1e-4)
