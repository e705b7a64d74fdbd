import torch

from hf_ctkd.ot.extrapolation import extrapolated


def test_extrapolation_finds_the_limit_of_a_geometric_sequence():
    """Two modes that die out: three differences cancel them."""
    limit, one, other = (torch.randn(2, 7, dtype=torch.float64) for _ in range(3))
    points = [limit + 0.9**k * one + 0.5**k * other for k in range(4)]
    found = extrapolated(points, torch.full((2, 7), 1 / 7, dtype=torch.float64))
    # The ridge of 1e-10 that keeps the weights finite is what is left.
    torch.testing.assert_close(found, limit, rtol=0, atol=1e-3)
    assert (points[-1] - limit).abs().max() > 0.1
