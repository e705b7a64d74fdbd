import pytest
import torch

from hf_ctkd.data.stored_features import LayeredRows, StoredFeatures, store_features
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.types import ModelOutputs

FEATURES = torch.arange(30.0).view(10, 3)


def test_features_up_to_a_size_stay_in_memory(tmp_path):
    folder = tmp_path / "cache"
    for stored in (store_features(FEATURES.split(4), 10, folder, limit=120), store_features([FEATURES], 10, None)):
        assert isinstance(stored, ModelOutputs) and torch.equal(stored.features, FEATURES)
    assert not folder.exists()


def test_larger_ones_are_read_from_a_file_without_a_name(tmp_path):
    folder = tmp_path / "cache"
    stored = store_features(FEATURES.split(4), 10, folder, limit=119)
    assert isinstance(stored, StoredFeatures) and len(stored) == 10 and list(folder.iterdir()) == []
    for rows in (torch.tensor([7, 0, 7]), torch.arange(10) % 3 == 1, torch.arange(0)):
        assert torch.equal(stored.select(rows).features, FEATURES[rows])
    parts = list(stored.chunks(4))
    assert [rows for rows, _ in parts] == [slice(0, 4), slice(4, 8), slice(8, 10)]
    assert torch.equal(torch.cat([part.features for _, part in parts]), FEATURES)


@pytest.mark.parametrize("limit", [0, 2**20])
@pytest.mark.parametrize("depths", [0, 2])
def test_layers_and_features_of_rows_are_stored_side_by_side(tmp_path, limit, depths):
    layers = tuple(FEATURES[:, : depth + 1] + depth for depth in range(depths))
    outputs = ModelOutputs(FEATURES, layers=layers)
    rows = LayeredRows.store((part for _, part in outputs.chunks(4)), 10, tmp_path, limit=limit)
    assert len(rows) == 10
    for some in (torch.tensor([7, 0, 7]), torch.arange(10) % 3 == 1):
        read, expected = rows.select(some), outputs.select(some)
        for mine, other in zip((*read.layers, read.features), (*expected.layers, expected.features), strict=True):
            assert torch.equal(mine, other)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write the features of all rows to .*choose another `cache_"):
        store_features([FEATURES], 10, tmp_path / "file", limit=0)
