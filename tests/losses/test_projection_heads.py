import pytest
import torch

from hf_ctkd.losses.alignment import Aligned
from hf_ctkd.losses.distances import DISTANCES, L2
from hf_ctkd.losses.projection_heads import NORMALISERS, PROJECTIONS, ProjectionHead, spectrum


def link(direction, normalise, source, width):
    projection = PROJECTIONS[direction](source, width, torch.Generator().manual_seed(0))
    return ProjectionHead(
        projection,
        NORMALISERS[normalise](width),
        L2(),
        width=width,
        inverted=direction == "inverted",
        positionwise=True,
    )


def test_batch_norm_is_that_of_torch_on_both_sides():
    ours, theirs = torch.randn(20, 1, 4), torch.randn(20, 1, 6)
    module = link("inverted", "batch", 6, 4)
    mapped = module.projection(theirs[:, 0])
    norms = [torch.nn.BatchNorm1d(4, eps=1e-4, affine=False) for _ in range(2)]
    expected = (norms[0](ours[:, 0]) - norms[1](mapped)).square().mean()
    assert torch.allclose(module(Aligned(ours, theirs)), expected)
    assert torch.allclose(module.student_side.mean, norms[0].running_mean)
    assert torch.allclose(module.teacher_side.variance, norms[1].running_var)


def test_layer_norm_is_on_the_teachers_side_alone():
    ours, theirs = torch.randn(20, 1, 4), torch.randn(20, 1, 6)
    module = link("orthogonal", "layer", 4, 6)
    expected = (module.projection(ours) - torch.nn.functional.layer_norm(theirs, (6,), eps=1e-4)).square().mean()
    assert torch.allclose(module(Aligned(ours, theirs)), expected)


def test_padding_is_left_out_of_the_statistics():
    mask = torch.tensor([[True, True, False]] * 10)
    ours, theirs = torch.randn(10, 3, 4), torch.randn(10, 3, 6)
    kept = [side[:, :2] for side in (ours, theirs)]
    module = link("inverted", "batch", 6, 4)
    assert torch.allclose(module(Aligned(ours, theirs, mask)), module(Aligned(*kept)))


@pytest.mark.parametrize(("source", "width"), [(4, 6), (6, 4), (5, 5)])
def test_orthogonal_projection_is_orthonormal(source, width):
    weight = PROJECTIONS["orthogonal"](source, width, torch.Generator().manual_seed(0)).weight
    small = weight.T @ weight if source < width else weight @ weight.T
    assert torch.allclose(small, torch.eye(min(source, width)), atol=1e-5)


def test_initial_weights_follow_the_generator():
    for make in PROJECTIONS.values():
        weights = [make(4, 6, torch.Generator().manual_seed(seed)).weight for seed in (1, 1, 2)]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])


def test_spectrum_of_known_matrices():
    assert spectrum(torch.diag(torch.tensor([3.0, 0.0, 1.0])))["top_share"] == pytest.approx(0.9)
    assert spectrum(torch.eye(5))["effective_rank"] == pytest.approx(5)
    assert spectrum(torch.zeros(3, 2))["top_share"] == 0


def test_names_of_distances_are_their_keys():
    assert {name: kind.name for name, kind in DISTANCES.items()} == {name: name for name in DISTANCES}
