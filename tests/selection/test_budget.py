import pytest

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.selection.budget import Meter, SelectionBudget


def test_limits_are_checked():
    with pytest.raises(InvalidArgumentError, match="A budget must have a limit, got none. Give `seconds`, `forwards`"):
        SelectionBudget()
    for name in ("seconds", "forwards", "bytes"):
        for value in (0, -1, *((float("nan"), float("inf")) if name == "seconds" else ())):
            message = f"`{name}` of a budget must be a positive and finite number, got {value!r}. Leave it out"
            with pytest.raises(InvalidArgumentError, match=message):
                SelectionBudget(**{name: value})


def test_a_meter_tells_which_limit_is_reached():
    now = [5.0]
    meter = Meter(SelectionBudget(seconds=10, forwards=100, bytes=1000), clock=lambda: now[0])
    assert meter.reached(forwards=100) is None
    assert meter.reached(forwards=101) == "forwards"
    assert meter.bytes_left == 1000
    meter.spend(forwards=60, bytes=400)
    assert meter.reached(forwards=41) == "forwards" and meter.bytes_left == 600
    now[0] = 15.0
    assert meter.seconds == 10 and meter.reached() == "seconds" and meter.bytes_left == 600
    assert Meter(SelectionBudget(seconds=1)).bytes_left is None
