import doctest

import torch

from hf_ctkd.data import TargetRows
from hf_ctkd.teachers import Teacher, compute_outputs, layers
from hf_ctkd.types import Hidden


def test_examples():
    assert doctest.testmod(layers).failed == 0


def test_quarters_of_a_grid_and_mean_over_a_text():
    grid = torch.arange(16.0).view(1, 16, 1)
    pooled = layers.pool_layers([Hidden(grid, (4, 4)), Hidden(grid[:, :1], (1, 1))])
    assert pooled[0].tolist() == [[2.5, 4.5, 10.5, 12.5]]
    assert pooled[1].tolist() == [[0.0]]
    mask = torch.arange(16)[None] < 3
    assert layers.pool_layers([Hidden(grid, (16,), mask), Hidden(grid, (16,))])[0].item() == 1.0
    assert layers.pool_layers([Hidden(grid, (16,))])[0].item() == 7.5


def test_layers_are_stored_and_read_again(resnet, images, tmp_path):
    teacher, rows = Teacher.load(resnet, "image"), TargetRows.of(images)
    everything = torch.arange(len(rows))
    plain = compute_outputs(teacher, rows, cache_dir=tmp_path, progress=False).select(everything)
    assert plain.layers == ()
    stored = compute_outputs(teacher, rows, cache_dir=tmp_path, progress=False, layers=True).select(everything)
    again = compute_outputs(teacher, rows, cache_dir=tmp_path, progress=False, layers=True).select(everything)
    direct = teacher.outputs(teacher.collate(rows.inputs(range(12))), layers=True)
    assert len(stored.layers) == len(direct.layers) == 3
    for first, second, third in zip(stored.layers, again.layers, direct.layers, strict=True):
        torch.testing.assert_close(first, third)
        assert torch.equal(first, second)
    torch.testing.assert_close(stored.features, plain.features)
    selected = stored.select(torch.tensor([3, 1])).layers
    assert torch.equal(selected[0], stored.layers[0][[3, 1]])


def test_the_last_layer_alone(resnet, images, tmp_path):
    teacher, rows = Teacher.load(resnet, "image"), TargetRows.of(images)
    last = compute_outputs(teacher, rows, cache_dir=tmp_path, progress=False, layers=True, max_layers=1)
    deepest = compute_outputs(teacher, rows, progress=False, layers=True).select(torch.arange(2)).layers[-1]
    (layer,) = last.select(torch.arange(2)).layers
    torch.testing.assert_close(layer, deepest)


def test_layers_of_a_text_teacher_leave_out_padding(bert, texts):
    teacher, rows = Teacher.load(bert, "text"), TargetRows.of(texts)
    together = compute_outputs(teacher, rows, batch_size=12, progress=False, layers=True)
    alone = compute_outputs(teacher, rows, batch_size=1, progress=False, layers=True)
    for padded, unpadded in zip(together.layers, alone.layers, strict=True):
        torch.testing.assert_close(padded, unpadded)
