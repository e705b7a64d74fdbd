import doctest

import pytest

from hf_ctkd.records import table


def test_example_in_docstring_runs():
    result = doctest.testmod(table)
    assert result.attempted > 0 and result.failed == 0


@pytest.mark.parametrize(
    ("cells", "right"),
    [
        (["1", "-", "-2.5", "1.2M"], True),
        (["+5", "12.5"], True),
        (["1", "unknown"], False),
        (["-", "-x"], False),
        (["1", ""], False),
    ],
)
def test_a_column_is_numeric_when_every_cell_is(cells, right):
    first = table.text_table(["a wide header"], [[cell] for cell in cells]).splitlines()[1]
    assert first.startswith(" ") == right
