from pathlib import Path

import pytest
import torch
from datasets import Dataset
from tiny_models import image_rows, png, text_rows

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.selection.stored_rows import read_rows, store_rows


@pytest.fixture
def files(tmp_path) -> Dataset:
    """Rows that refer to image files."""
    paths = []
    for number in range(6):
        paths.append(tmp_path / f"{number}.png")
        paths[-1].write_bytes(png(number))
    rows = image_rows([None] * 6, [number % 2 for number in range(6)])
    stored = [{"bytes": None, "path": str(path)} for path in paths]
    return Dataset.from_dict({"image": stored, "label": rows["label"][:]}, features=rows.features)


def test_rows_are_the_same_from_disk(tmp_path, files):
    rows = TargetRows.of(files).select([5, 2, 1, 0])
    path = store_rows(tmp_path / "rows", rows)
    read = read_rows(path)
    assert read.fingerprint == rows.fingerprint and read.digests == rows.digests
    assert torch.equal(read.labels, rows.labels) and torch.equal(read.origin, rows.origin)
    assert (read.label_space, read.modality, read.input_columns) == (rows.label_space, "image", ("image",))
    for number in range(6):  # no longer needed
        (tmp_path / f"{number}.png").unlink()
    assert read.inputs([0])[0].size == (8, 8)
    assert store_rows(tmp_path / "rows", read) == path
    assert [path] == list((tmp_path / "rows").iterdir())


def test_other_rows_or_columns_have_another_folder(tmp_path):
    texts = TargetRows.of(text_rows(["a", "b", "c", "d"], [0, 1, 0, 1]))
    renamed = TargetRows.of(text_rows(["a", "b", "c", "d"], [0, 1, 0, 1], names=("cat", "dog", "wolf")))
    paths = {store_rows(tmp_path, rows) for rows in (texts, renamed, texts.select([1, 0, 3, 2]))}
    assert len(paths) == 3
    assert read_rows(store_rows(tmp_path, texts.select([1, 0]))).inputs([0]) == ["b"]


def test_what_cannot_be_read_or_written(tmp_path, files):
    rows = TargetRows.of(files)
    (tmp_path / "3.png").unlink()
    with pytest.raises(DatasetError, match=r"A file that the rows refer to cannot be read: .*3\.png.* Put it back"):
        store_rows(tmp_path / "rows", rows)
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidArgumentError, match="Cannot write the rows to .*file.*Choose another `cache_dir`"):
        store_rows(tmp_path / "file", rows.select([0, 1]))
    with pytest.raises(InvalidArgumentError, match="cannot read the rows .* Choose a `cache_dir` that all workers"):
        read_rows(Path(tmp_path / "nowhere"))
