import pytest
import torch
from ot_problems import INFINITE, prepared, problem

from hf_ctkd.ot import OTProblem, Sinkhorn
from hf_ctkd.ot.potentials import Gathered, Potentials, centred, dual_value
from hf_ctkd.ot.problem import PreparedProblem


def test_blocks_are_written_to_their_places_and_the_rest_is_unfinished():
    even = torch.full((4, 2), 0.5)
    gathered = Gathered.empty(PreparedProblem.of(OTProblem(torch.rand(2, 2), even, even), 0.1, tau_a=1.0, tau_b=1.0))
    rows = torch.tensor([3, 0])
    found = Potentials(torch.rand(2, 2), torch.rand(2, 2), torch.tensor([0.1, 0.2]), torch.tensor([7, 8]))
    gathered.write(rows, found)
    # What was never written is as unsound as what is no number.
    assert gathered.unfinished(0.2, 100).tolist() == [1, 2]
    assert gathered.unfinished(0.15, 100).tolist() == [0, 1, 2]  # not done, and steps left
    assert gathered.unfinished(0.15, 8).tolist() == [1, 2]  # none left
    assert gathered.read(rows).steps.tolist() == [7, 8]
    done = gathered.potentials
    torch.testing.assert_close(done.f[rows], found.f)
    torch.testing.assert_close(done.g[rows], found.g)
    assert done.steps.tolist() == [8, 0, 0, 7] and done.error[rows].tolist() == found.error.tolist()


@pytest.mark.parametrize("tau", [INFINITE, 0.5])
def test_the_solution_is_a_maximum_of_the_dual(tau):
    """The dual with the best answer to `f`: any other `f` gives less, by a term of second order."""
    given = problem()
    solution = Sinkhorn(0.1, 10_000, tolerance=1e-13, tau_a=tau, tau_b=tau).solve(given)
    own = prepared(given, tau=tau)
    best = dual_value(own, *solution.potentials)[0]
    torch.testing.assert_close(best, solution.value.detach())
    _, power = own.powers(own.epsilon)
    for step in (1e-2, 1e-3):
        f = solution.potentials[0] + step * torch.randn(3, 5, dtype=torch.float64)
        exponent = (f[:, :, None] - own.cost) / own.epsilon[:, None, None] + own.a.log()[:, :, None]
        g = -power * own.epsilon[:, None] * torch.logsumexp(exponent, 1)
        loss = best - dual_value(own, f, g)[0]
        assert (loss > 0).all() and (loss < 100 * step**2).all()


def test_the_gauge_shares_the_constant_and_leaves_the_plan():
    given = problem()
    own, (f, g) = prepared(given), (torch.randn(3, size, dtype=torch.float64) for size in (5, 4))
    f_, g_ = centred(own, f, g)
    torch.testing.assert_close((own.a * f_).sum(-1), (own.b * g_).sum(-1))
    torch.testing.assert_close(f_[:, :, None] + g_[:, None], f[:, :, None] + g[:, None])
    loose = prepared(given, tau=0.5)
    assert centred(loose, f, g) == (f, g) and not loose.balanced  # unbalanced potentials have no free constant
