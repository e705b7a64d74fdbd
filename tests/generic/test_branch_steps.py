"""One loss and one gradient, however the rows of a step are cut."""

import pytest
from branch_steps import same_steps, steps
from pools import POOLS


@pytest.mark.parametrize("rows", [16, 13], ids=["full", "ragged"])
def test_a_step_does_not_depend_on_how_it_is_cut(tmp_path, rows):
    # Micro-batches draw paths of their own; with a single one they are comparable.
    pool = POOLS["vit"].only(POOLS["vit"].sample(1, seed=3)[0])
    whole = steps(tmp_path, pool, accumulation=1, rows=rows)
    assert whole["logged"]["branch_kl"] > 0 and any("adapters" in name for name in whole["gradient"])
    found = steps(tmp_path, pool, accumulation=4, rows=rows)
    for one in (found, whole):
        one["logged"].pop("loss"), one["logged"].pop("architecture_loss")  # its baseline moves between micro-batches
    same_steps(found, whole)
