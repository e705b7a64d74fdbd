import dataclasses
import pickle
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny_models import image_processor, image_rows, png, save, tiny_resnet
from transformers import BitsAndBytesConfig

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, InvalidArgumentError, ProblemCode, StaleCacheError, TeacherUnavailableError
from hf_ctkd.teachers import LoadOptions, StoredOutputs, Teacher, compute_outputs, finite_rows_of, open_cache
from hf_ctkd.teachers import outputs as module
from hf_ctkd.types import RowOutputs


@pytest.fixture
def passes(monkeypatch):
    """How many rows each forward pass of any teacher was given."""
    sizes = []
    plain = Teacher.outputs

    def counted(self, batch, *arguments, **settings):
        sizes.append(len(next(iter(batch.values()))))
        return plain(self, batch, *arguments, **settings)

    monkeypatch.setattr(Teacher, "outputs", counted)
    return sizes


def everything(outputs):
    assert isinstance(outputs, RowOutputs)
    return outputs.select(torch.arange(len(outputs)))


def assert_same(first, second):
    first, second = everything(first), everything(second)
    torch.testing.assert_close(first.features, second.features)
    torch.testing.assert_close(first.logits, second.logits)


def test_outputs_come_in_the_order_of_the_rows(teacher, rows, bert, texts):
    outputs = compute_outputs(teacher, rows, batch_size=5, progress=False)
    assert_same(outputs, teacher.outputs(teacher.collate(rows.inputs(range(12)))))
    reader, rows = Teacher.load(bert, "text"), TargetRows.of(texts)
    outputs = compute_outputs(reader, rows, batch_size=5, progress=False)  # texts go by length
    for row in range(12):
        alone = reader.outputs(reader.collate(rows.inputs([row])))
        torch.testing.assert_close(outputs.logits[row], alone.logits[0])
        torch.testing.assert_close(outputs.features[row], alone.features[0])


def test_a_row_is_computed_once_wherever_it_stands(teacher, rows, tmp_path, passes):
    whole = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    assert sum(passes) == 12
    for order in ([5, 2, 2, 9], list(range(11, -1, -1))):
        some = compute_outputs(teacher, rows.select(order), cache_dir=tmp_path / "outputs", progress=False)
        assert_same(some, whole.select(torch.tensor(order)))
    assert sum(passes) == 12
    twice = compute_outputs(teacher, rows.select([3, 3, 3, 4]), progress=False)
    assert sum(passes) == 14
    assert torch.equal(twice.logits[0], twice.logits[2])


def test_an_interruption_loses_one_shard_at_most(teacher, rows, tmp_path, monkeypatch, passes):
    monkeypatch.setattr(module, "_ROWS_A_SHARD", 4)
    plain = TargetRows.inputs

    def interrupted(self, wanted):
        if 9 in wanted:
            raise KeyboardInterrupt
        return plain(self, wanted)

    with monkeypatch.context() as patch:
        patch.setattr(TargetRows, "inputs", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", batch_size=2, progress=False)
    assert sum(passes) == 8
    resumed = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", batch_size=2, progress=False)
    assert sum(passes) == 12
    assert_same(resumed, compute_outputs(teacher, rows, progress=False))


def test_a_full_disk_keeps_the_shards_before(teacher, rows, tmp_path, monkeypatch, passes):
    monkeypatch.setattr(module, "_ROWS_A_SHARD", 4)
    add = module.OutputCache.add

    def full(self, digests, outputs):
        if len(passes) == 2:
            raise InvalidArgumentError("No space left on device")
        add(self, digests, outputs)

    with monkeypatch.context() as patch:
        patch.setattr(module.OutputCache, "add", full)
        with pytest.raises(InvalidArgumentError, match="No space"):
            compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    assert passes == [4, 4, 4, 4]


def test_a_corrupt_shard_is_computed_again(teacher, rows, tmp_path, monkeypatch, passes):
    monkeypatch.setattr(module, "_ROWS_A_SHARD", 4)
    whole = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    expected = everything(whole)
    shard = next(tmp_path.glob("outputs/*/*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-30])
    with pytest.warns(UserWarning, match="cannot be read. It is deleted, and its rows are computed again"):
        again = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    assert_same(again, expected)
    assert sum(passes) == 16


def test_a_changed_number_is_computed_again(teacher, rows, tmp_path, passes):
    expected = everything(compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False))
    shard = next(tmp_path.glob("outputs/*/*.safetensors"))
    content = bytearray(shard.read_bytes())
    content[-2] ^= 1  # of the last number
    shard.write_bytes(content)
    with pytest.warns(UserWarning, match="does not match its checksum. It is deleted"):
        again = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    assert_same(again, expected)
    assert sum(passes) == 24


def test_a_shard_of_another_teacher_is_computed_again(teacher, rows, tmp_path, passes):
    other = save(tmp_path / "other", tiny_resnet(seed=8), image_processor())
    compute_outputs(Teacher.load(other, "image"), rows, cache_dir=tmp_path / "cache", progress=False)
    (foreign,) = (tmp_path / "cache").glob("*/*.safetensors")
    expected = everything(compute_outputs(teacher, rows.select(range(4)), progress=False))
    folder = open_cache(tmp_path / "cache", teacher).folder
    shutil.copy(foreign, folder)
    with pytest.warns(UserWarning, match="belongs to another teacher. It is deleted"):
        outputs = compute_outputs(teacher, rows.select(range(4)), cache_dir=tmp_path / "cache", progress=False)
    assert_same(outputs, expected)
    assert foreign.exists()
    assert not (folder / foreign.name).exists()


def test_stored_outputs_are_read_in_parts(teacher, rows, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_ROWS_A_SHARD", 5)
    outputs = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    expected = everything(compute_outputs(teacher, rows, progress=False))
    assert isinstance(outputs, StoredOutputs)
    outputs = pickle.loads(pickle.dumps(outputs))
    chosen = torch.tensor([7, 0, 7, -1])
    assert_same(outputs.select(chosen), expected.select(chosen))
    mask = torch.arange(12) % 3 == 1
    assert_same(outputs.select(mask), expected.select(mask))
    assert outputs.select(torch.tensor([], dtype=torch.long)).logits.shape == (0, 3)
    chunks = list(outputs.chunks(7))
    assert [chunk for chunk, _ in chunks] == [slice(0, 7), slice(7, 12)]
    assert_same(chunks[1][1], expected.select(torch.arange(7, 12)))
    next(tmp_path.glob("outputs/*/*.safetensors")).unlink()
    with pytest.raises(StaleCacheError, match="deleted or changed while its outputs were in use.*Run again"):
        everything(outputs)


def test_float16_takes_half_the_disk_and_is_stored_apart(teacher, rows, tmp_path):
    whole = compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    half = compute_outputs(
        teacher, rows, cache_dir=tmp_path / "outputs", progress=False, teacher_output_dtype=torch.float16
    )
    assert everything(half).features.dtype == torch.float32
    # 11 bits of the significand: half a unit in the last place is 2 ** -11.
    torch.testing.assert_close(everything(half).features, everything(whole).features, rtol=2**-11, atol=1e-7)
    small, large = sorted(path.stat().st_size for path in tmp_path.glob("outputs/*/*.safetensors"))
    numbers = 12 * (16 + 3)
    assert large - small == pytest.approx(2 * numbers, abs=16)  # headers are padded to eight bytes
    for cache_dir in (tmp_path / "outputs", None):
        message = "`teacher_output_dtype` must be torch.float32 or torch.float16, got torch.int8. Choose one."
        with pytest.raises(InvalidArgumentError, match=message):
            compute_outputs(teacher, rows, cache_dir=cache_dir, progress=False, teacher_output_dtype=torch.int8)


def test_numbers_beyond_float16_cost_the_teacher_and_no_shard_is_written(teacher, rows, tmp_path, monkeypatch):
    plain = Teacher.outputs

    def large(self, batch, *arguments, **settings):
        outputs = plain(self, batch, *arguments, **settings)
        return dataclasses.replace(outputs, features=outputs.features + 1e6)

    monkeypatch.setattr(Teacher, "outputs", large)
    with pytest.raises(TeacherUnavailableError, match="its features are not finite in float16, first for row 0"):
        compute_outputs(
            teacher, rows, cache_dir=tmp_path / "outputs", progress=False, teacher_output_dtype=torch.float16
        )
    assert not list(tmp_path.glob("outputs/*/*.safetensors"))


def test_the_size_is_logged_and_limited_before_anything_is_written(teacher, rows, tmp_path, caplog):
    row_bytes = 16 + 4 * (16 + 3)
    with pytest.raises(
        InvalidArgumentError,
        match=f"12 rows take 0.0 MB .{row_bytes} bytes a row.*`max_cache_bytes` allows 0.0 MB. Raise it, use fewer "
        "rows, or store half as much by `teacher_output_dtype=float16`",
    ):
        compute_outputs(
            teacher, rows, cache_dir=tmp_path / "outputs", progress=False, max_cache_bytes=12 * row_bytes - 1
        )
    assert not list(tmp_path.glob("outputs/*/*.safetensors"))
    with caplog.at_level("INFO"):
        compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False, max_cache_bytes=12 * row_bytes)
    assert f"Storing 12 rows x {row_bytes} bytes" in caplog.text


def test_a_full_disk_is_noticed_before_it_is(teacher, rows, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(InvalidArgumentError, match="half of the free disk allows 0.0 MB"):
        compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)


def test_rows_stored_twice_do_not_shift_the_others(teacher, rows, tmp_path):
    first = compute_outputs(teacher, rows.select(range(4)), cache_dir=tmp_path / "outputs", progress=False)
    reverse = torch.arange(3, -1, -1)  # as two runs at once would
    open_cache(tmp_path / "outputs", teacher).add(rows.digests[:4][::-1], first.select(reverse))
    expected = compute_outputs(teacher, rows, progress=False)
    assert_same(compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False), expected)


def test_a_stale_cache_is_refused(teacher, rows, tmp_path):
    compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    meta = next(tmp_path.glob("outputs/*/teacher.json"))
    meta.write_text(meta.read_text().replace(teacher.candidate.revision, "another"))
    with pytest.raises(StaleCacheError, match="another revision"):
        compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)


def test_all_that_shapes_outputs_is_in_the_key(resnet, tmp_path):
    random = dataclasses.replace(resnet, random_weights=True)
    teachers = [
        Teacher.load(resnet, "image"),
        Teacher.load(resnet, "image", options=LoadOptions(dtype=torch.bfloat16)),
        Teacher.load(random, "image"),
        Teacher.load(random, "image", options=LoadOptions(seed=1)),
        dataclasses.replace(Teacher.load(resnet, "image"), candidate=dataclasses.replace(resnet, revision="other")),
        Teacher.load(resnet, "image"),
    ]
    teachers[-1].model.config.quantization_config = BitsAndBytesConfig(load_in_8bit=True)  # as transformers leaves it
    assert len({open_cache(tmp_path / "outputs", teacher).folder for teacher in teachers}) == len(teachers)


def test_a_batch_that_does_not_fit_is_halved(teacher, rows, monkeypatch):
    sizes = []
    plain = Teacher.outputs

    def small_memory(self, batch, *arguments, **settings):
        sizes.append(len(batch["pixel_values"]))
        if sizes[-1] > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return plain(self, batch, *arguments, **settings)

    expected = compute_outputs(teacher, rows, progress=False)
    monkeypatch.setattr(Teacher, "outputs", small_memory)
    assert_same(compute_outputs(teacher, rows, batch_size=10, progress=False), expected)
    assert sizes == [10, 5, 2, 2, 2, 2, 2, 2]


def test_a_single_row_that_does_not_fit_costs_the_teacher(teacher, rows, monkeypatch):
    def no_memory(self, batch, *arguments, **settings):
        raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried")

    monkeypatch.setattr(Teacher, "outputs", no_memory)
    with pytest.raises(TeacherUnavailableError, match="a single row does not fit the memory of cpu"):
        compute_outputs(teacher, rows, progress=False)


def test_outputs_that_are_not_finite_name_the_row_that_was_given(teacher, rows, monkeypatch):
    plain = Teacher.outputs

    def overflowing(self, batch, *arguments, **settings):
        outputs = plain(self, batch, *arguments, **settings)
        outputs.features[1] = torch.inf
        return outputs

    monkeypatch.setattr(Teacher, "outputs", overflowing)
    with pytest.raises(TeacherUnavailableError, match="its features are not finite, first for row 7"):
        compute_outputs(teacher, rows.select([5, 7]), progress=False)


@pytest.mark.parametrize("stored", [True, False])
def test_a_share_of_the_rows_may_have_outputs_that_are_not_finite(teacher, rows, monkeypatch, tmp_path, stored):
    plain = Teacher.outputs

    def overflowing(self, batch, *arguments, **settings):
        outputs = plain(self, batch, *arguments, **settings)
        outputs.logits[1, 0] = torch.inf
        return outputs

    compute = partial(
        compute_outputs, teacher, rows, batch_size=4, progress=False, cache_dir=tmp_path / "outputs" if stored else None
    )
    expected = compute_outputs(teacher, rows, progress=False)
    monkeypatch.setattr(Teacher, "outputs", overflowing)
    outputs = compute(max_not_finite=0.25)
    bad = torch.tensor([row % 4 == 1 for row in range(len(rows))])
    assert torch.equal(~finite_rows_of(outputs), bad)
    assert outputs.select(bad).features.isnan().all() and outputs.select(bad).logits.isnan().all()
    assert_same(outputs.select(~bad), expected.select(~bad))
    for share, limit in ((0.2, "; at most 20% of them may be so"), (0.0, "")):
        # A row that an earlier run stored counts like one of this run.
        message = f"its outputs are not finite for 3 of 12 rows, such as row 1{limit}$"
        if not stored:
            message = "its (outputs|logits) are not finite"
        with pytest.raises(TeacherUnavailableError, match=message) as raised:
            compute(max_not_finite=share)
        assert raised.value.code is ProblemCode.NOT_FINITE
    with pytest.raises(InvalidArgumentError, match=r"`max_not_finite` must lie in \[0, 1\), got 1.0"):
        compute(max_not_finite=1.0)


def test_a_model_that_cannot_be_run_is_unavailable_but_a_bad_row_is_the_data_sets(teacher, rows):
    wide = Teacher.load(teacher.candidate, "image")
    wide.preprocessor.processing_class.do_resize = False
    mixed = TargetRows.of(image_rows([png(0, 8), png(1, 12)], [0, 1]))
    with pytest.raises(TeacherUnavailableError, match="cannot be run: "):
        compute_outputs(wide, mixed, progress=False)
    bad = TargetRows.of(image_rows([png(0), b"nothing"], [0, 1]))
    with pytest.raises(DatasetError, match="Row 1 of `image`"):
        compute_outputs(teacher, bad, progress=False)


@pytest.mark.parametrize(("name", "least"), [("batch_size", 1), ("max_layers", 1), ("workers", 0)])
def test_numbers_are_checked(teacher, rows, name, least):
    with pytest.raises(InvalidArgumentError, match=f"`{name}` must be at least {least}, got {least - 1}"):
        compute_outputs(teacher, rows, **{name: least - 1})


def test_progress_is_shown_when_asked_for(teacher, rows, capfd):
    compute_outputs(teacher, rows, progress=False)
    assert capfd.readouterr().err == ""
    compute_outputs(teacher, rows, batch_size=3)
    assert "resnet" in capfd.readouterr().err
