import torch

from hf_ctkd.costs.base import cosine_cost


def test_the_angle_between_vectors_of_any_length():
    teacher = torch.tensor([[2.0, 0.0], [0.0, 1e-3], [-5.0, 0.0]])
    target = torch.tensor([[1.0, 0.0], [3.0, 3.0]])
    half = 0.5**0.5
    expected = torch.tensor([[0, (1 - half) / 2], [0.5, (1 - half) / 2], [1, (1 + half) / 2]])
    torch.testing.assert_close(cosine_cost(teacher, target), expected)


def test_a_vector_of_zeros_says_nothing():
    teacher = torch.tensor([[0.0, 0.0], [1e-20, 0.0], [1.0, 0.0]])
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert cosine_cost(teacher, target).tolist() == [[0.5, 0.5], [0.5, 0.5], [0.0, 0.5]]


def test_rounding_cannot_leave_the_unit_interval():
    vectors = torch.randn(200, 3)
    cost = cosine_cost(vectors, vectors)
    assert float(cost.min()) >= 0 and float(cost.max()) <= 1
