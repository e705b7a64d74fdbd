"""What every process sees of a student; real launches are in `tests/processes/test_sharded_student.py`."""

import sys
from types import SimpleNamespace

import pytest
import tiny
import torch
from accelerate.utils import DistributedType
from torch import nn

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.training import sharded
from hf_ctkd.training.student_with_loss import StudentWithLoss


def _state(monkeypatch, kind, *, efficient=False):
    plugin = SimpleNamespace(cpu_ram_efficient_loading=efficient)
    monkeypatch.setattr(sharded, "AcceleratorState", lambda: SimpleNamespace(distributed_type=kind, fsdp_plugin=plugin))


def test_weights_that_one_process_alone_loads_are_refused(monkeypatch):
    _state(monkeypatch, DistributedType.FSDP, efficient=True)
    with (
        pytest.raises(
            InvalidArgumentError, match=r"`cpu_ram_efficient_loading`.*fsdp_cpu_ram_efficient_loading: false"
        ),
        sharded.gathered(nn.Linear(2, 2)),
    ):
        pass


@pytest.mark.parametrize(
    ("kind", "expected"),
    [(DistributedType.NO, False), (DistributedType.MULTI_GPU, False), (DistributedType.FSDP, True)],
)
def test_a_student_under_fsdp_is_in_parts(monkeypatch, kind, expected):
    _state(monkeypatch, kind)
    assert sharded.is_sharded() == expected
    with sharded.gathered(nn.Linear(2, 2)):
        assert "deepspeed" not in sys.modules


@pytest.mark.parametrize("kind", [DistributedType.NO, DistributedType.FSDP])
def test_weights_arrive_whole(monkeypatch, kind):
    _state(monkeypatch, kind)
    source, model = nn.Linear(3, 2), nn.Linear(3, 2)
    sharded.load_weights(model, source.state_dict())
    assert torch.equal(model.weight, source.weight) and torch.equal(model.bias, source.bias)


def test_weights_that_others_hold_are_counted():
    model = nn.Linear(3, 2)
    model.weight = nn.Parameter(torch.empty(0))
    model.weight.ds_numel = 6  # as DeepSpeed leaves a parameter whose values lie elsewhere
    assert sharded.count_parameters(model) == 8


def test_trackers_are_told_of_weights_that_others_hold():
    student = tiny.image_student(2)
    whole = student.num_parameters()
    head = student.classifier[-1]
    shared = nn.Parameter(torch.empty(0))
    shared.ds_numel, head.bias = head.bias.numel(), shared
    assert StudentWithLoss(student).num_parameters() == whole
