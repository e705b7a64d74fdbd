import pytest

from benchmarks import budget
from benchmarks.budget import Errors, Outcome


def found(lost_at_a_tenth):
    tenth = [Outcome(0.1, 0.08, lost, 0.7, 0.4, 0.2) for lost in lost_at_a_tenth]
    return [*tenth, *(Outcome(share, 0.3, 0.0, 1.0, 1.0, 0.9) for share in budget.SHARES if share != 0.1)]


@pytest.mark.parametrize(
    ("lost", "line", "verdict"),
    [
        ([0.0, 0.03], "| 10% | 8.0% | 40% | 1.50 | 3.00 | 50% | 70% | 0.20 |", "**missed** (50%)"),
        ([0.0, 0.01], "| 10% | 8.0% | 40% | 0.50 | 1.00 | 100% | 70% | 0.20 |", "**met** (100%)"),
    ],
)
def test_the_goal_is_read_off_the_smallest_budget(lost, line, verdict):
    text = budget.section(found(lost), 2, [Errors("digits", 0.03, 0.045, 0.052)])
    assert line in text and verdict in text and "2 rankings" in text
    assert "| until settled | 30.0% | 100% | 0.00 | 0.00 | 100% | 100% | 0.90 |" in text
    assert "| digits | 3.0 | 4.5 | 5.2 |" in text
