import numpy as np
import pyarrow as pa
import pytest
import torch

from hf_ctkd.index.label_spaces import LabelSpaces
from hf_ctkd.index.label_transport import EPSILON, TAU, TargetNames, transport_costs
from hf_ctkd.ot import OTProblem, Sinkhorn


@pytest.mark.parametrize("classes", [1, 4])
def test_lumping_unrelated_classes_changes_no_optimum(classes):
    generator = np.random.default_rng(0)
    label_names = [[f"word {name}" for name in generator.choice(30, size, False)] for size in (1, 3, 12, 30)]
    spaces = LabelSpaces.of(pa.array(label_names), np.zeros(4, dtype=int))
    similarity = np.where(generator.random((30, classes)) < 0.3, generator.random((30, classes)), 0).astype(np.float32)
    similarity[: len(similarity) // 2] = 0
    related = np.flatnonzero(similarity.any(axis=1))
    costs = transport_costs(TargetNames(related, similarity[related]), spaces, np.arange(4))
    solver = Sinkhorn(EPSILON, tolerance=1e-6, tau_a=TAU)
    for space, cost in enumerate(costs):
        members = spaces.members[space]
        # One more class of almost no mass and cost 1, as epsilon is relative to the largest cost.
        whole = torch.from_numpy(np.vstack([1 - similarity[members], np.ones((1, classes))])).double()
        mass = torch.tensor([*[1 / len(members)] * len(members), 1e-6]).double()[None]
        b = torch.full((1, classes), 1 / classes).double()
        assert float(solver.solve(OTProblem(whole, mass, b)).value) == pytest.approx(float(cost), abs=2e-3)


def test_without_a_similar_name_the_cost_is_one():
    spaces = LabelSpaces.of(pa.array([["a", "b"]]), np.zeros(1, dtype=int))
    nothing = TargetNames(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.float32))
    assert transport_costs(nothing, spaces, np.array([0])) == pytest.approx([1.0], abs=1e-3)
