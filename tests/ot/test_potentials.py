import torch

from hf_ctkd.ot import OTProblem
from hf_ctkd.ot.potentials import Gathered, Potentials
from hf_ctkd.ot.prepared import PreparedProblem


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
    done = gathered.done()
    torch.testing.assert_close(done.f[rows], found.f)
    torch.testing.assert_close(done.g[rows], found.g)
    assert done.steps.tolist() == [8, 0, 0, 7] and done.error[rows].tolist() == found.error.tolist()
