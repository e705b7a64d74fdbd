import pytest
import torch

from hf_ctkd.probes.gram import gram


@pytest.mark.parametrize("width", [1, 192, 193, 500])
def test_it_is_the_product_with_itself(width):
    values = torch.randn(30, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(gram(values), values.T @ values)
    torch.testing.assert_close(gram(values.T), values @ values.T)
