import numpy as np
import pytest

from hf_ctkd.demo.comparison import compare, comparison_table, paired_gain


def _rows(*share: float, rows: int = 400) -> list[np.ndarray]:
    return [np.arange(rows) < one * rows for one in share]


def test_gain_is_the_mean_difference_and_lies_in_its_interval():
    gain = paired_gain(_rows(0.9, 0.8, 0.85), _rows(0.7, 0.7, 0.7))
    assert gain.value == pytest.approx(0.15)
    assert gain.low < gain.value < gain.high
    assert gain.low > 0.08


def test_interval_of_students_that_are_alike_holds_zero():
    generator = np.random.default_rng(1)
    one, other = ([generator.random(300) < 0.7 for _ in range(3)] for _ in range(2))
    gain = paired_gain(one, other)
    assert gain.low < 0 < gain.high


def test_seeds_that_disagree_widen_the_interval():
    calm = paired_gain(_rows(0.8, 0.8, 0.8), _rows(0.7, 0.7, 0.7))
    restless = paired_gain(_rows(0.99, 0.8, 0.61), _rows(0.7, 0.7, 0.7))
    assert restless.value == pytest.approx(calm.value)
    assert restless.high - restless.low > 2 * (calm.high - calm.low)


def test_pairing_sees_what_unpaired_rows_would_hide():
    control = _rows(0.5)[0]
    treated = control.copy()
    treated[-8:] = True
    assert paired_gain([treated], [control]).low > 0


def test_table_gives_points_and_leaves_the_control_blank():
    table = comparison_table(compare({"plain": _rows(0.5), "taught": _rows(0.75)}, "plain"))
    header, plain, taught = table.splitlines()
    assert header.split()[0] == "student"
    assert plain.split() == ["plain", "50.0"]
    assert taught.split()[:3] == ["taught", "75.0", "+25.0"]
