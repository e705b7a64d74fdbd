import pytest

from hf_ctkd.cards.charts import Axis, HeatMap, Point, Scatter, shortened
from hf_ctkd.records import TransportMap


@pytest.mark.parametrize(
    ("values", "logarithmic", "ticks"),
    [([0.0, 1.0], False, [0.0, 0.5, 1.0]),
     ([-0.31, -0.02], False, [-0.3, -0.2, -0.1]),
     ([1e4, 1e9], True, [1e4, 1e6, 1e8]),
     ([2.0, 9.0], True, [2.0, 4.0, 6.0, 8.0]),
     ([0.5], False, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])],
)  # fmt: skip
def test_axes_have_round_numbers(values, logarithmic, ticks):
    axis = Axis.around(values, logarithmic=logarithmic)
    assert axis.ticks() == pytest.approx(ticks)
    assert all(0 < axis.share(value) < 1 for value in values)
    assert all(0 <= axis.share(tick) <= 1 for tick in axis.ticks())


POINTS = (
    Point("small", 1e6, 0.5),
    Point("worse", 2e6, 0.4),
    Point("best", 1e8, 0.9),
    Point("large", 1e9, 0.9),
    Point("untrained", 1e5, 0.6, control=True),
)


def test_the_front_has_teachers_that_none_beats_at_lower_cost():
    assert [point.name for point in Scatter(POINTS).front] == ["small", "best"]


def test_labels_stand_inside_the_plot_and_apart():
    points = [Point(f"organisation/model-number-{n}", 10.0 ** (4 + n / 10), n / 200) for n in range(12)]
    plot = Scatter([*points, Point("organisation/other", 1e7, 1.0)])
    labels = plot.labels
    assert 2 <= len(labels) < len(plot.front), "neighbours would cover one another"
    assert labels[0].anchor == "end", "at the right edge the name stands to the left"
    assert all(0 <= label.x <= plot.width and 0 <= label.y <= plot.height + 4 for label in labels)


def test_a_transport_map_by_cells():
    heat_map = HeatMap.of(TransportMap("org/a", ("x", "y"), ("cat", "dog", "cow"), ((0.0, 0.5, 0.0), (0.4, 0.1, 0.0))))
    assert (heat_map.rows, heat_map.columns) == (["y", "x"], ["cat", "dog", "cow"])
    assert heat_map.complete and len(heat_map.cells) == 3
    largest = max(heat_map.cells, key=lambda cell: cell.strength)
    assert (largest.row, largest.column, largest.strength) == (1, 1, 1.0)
    assert largest.title == "x to dog: 50.0 % of all rows"


def test_names_are_cut_in_their_middle():
    assert shortened("short", 5) == "short"
    assert shortened("organisation/model-large-patch16\n", 20) == "organisat…ge-patch16"
