"""One loss and one gradient, however the rows of a step are cut into micro-batches."""

import pytest
import tiny
from one_step import LOSSES, for_loss, one_step, same_step


@pytest.fixture(scope="module")
def both(tmp_path_factory, image_teacher):
    other = tiny.save_image_teacher(tmp_path_factory.mktemp("teachers") / "other", seed=8, classes=7, size=8)
    return f"{image_teacher},{other}"


@pytest.fixture
def teachers(both, loss):
    return for_loss(loss, both)


@pytest.fixture(scope="module")
def uncut_step(both, tmp_path_factory):
    """Gives the step in one piece that every test of the same loss and rows compares with; each is made once."""
    steps = {}

    def make(loss, rows):
        if (loss, rows) not in steps:
            folder = tmp_path_factory.mktemp("uncut")
            steps[loss, rows] = one_step(folder, for_loss(loss, both), accumulation=1, rows=rows, loss=loss)
        return steps[loss, rows]

    return make


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("accumulation", [2, 4])
@pytest.mark.parametrize("rows", [16, 13], ids=["full", "ragged"])
def test_step_does_not_depend_on_how_it_is_cut(tmp_path, teachers, uncut_step, rows, accumulation, loss):
    whole = uncut_step(loss, rows)
    assert len(whole["logged"]) > 2 and all(value > 0 for value in whole["logged"].values())
    same_step(one_step(tmp_path, teachers, accumulation=accumulation, rows=rows, loss=loss), whole)
