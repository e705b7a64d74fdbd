import dataclasses
import json
import time

import pytest
import torch
from accelerate import Accelerator
from tiny_models import image_rows, png, save, text_rows, tiny_bert, word_tokenizer
from tqdm.auto import tqdm

from hf_ctkd.data import TargetRows
from hf_ctkd.errors import DatasetError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import FeatureExtractor, Teacher, compute_outputs, extraction
from hf_ctkd.types import ModelOutputs


@pytest.fixture
def alter(monkeypatch):
    """Makes every teacher's outputs of the n-th forward pass go through a function."""
    plain, passes = Teacher.outputs, []

    def altering(change):
        def altered(self, batch, *arguments, **settings):
            passes.append(len(next(iter(batch.values()))))
            return change(plain(self, batch, *arguments, **settings), len(passes))

        monkeypatch.setattr(Teacher, "outputs", altered)

    return altering


def extractor(teacher, rows, **settings):
    return FeatureExtractor(teacher, rows, Accelerator(), **{"batch_size": 4, **settings})


def run(extractor, numbers, size=5):
    with tqdm(disable=True) as bar:
        return list(extractor.shards(numbers, size, bar))


def test_shards_come_with_their_rows(teacher, rows):
    shards = run(extractor(teacher, rows), [11, 3, 5, 7, 9, 0, 2])
    assert [numbers for numbers, _ in shards] == [[11, 3, 5, 7, 9], [0, 2]]
    for numbers, outputs in shards:
        expected = teacher.outputs(teacher.collate(rows.inputs(numbers)))
        torch.testing.assert_close(outputs.features, expected.features)
        torch.testing.assert_close(outputs.logits, expected.logits)


def test_workers_prepare_the_same_batches(bert, texts):
    teacher, rows = Teacher.load(bert, "text"), TargetRows.of(texts)
    expected = compute_outputs(teacher, rows, batch_size=5, progress=False)
    outputs = compute_outputs(teacher, rows, batch_size=5, progress=False, workers=2)
    assert torch.equal(outputs.logits, expected.logits)


@pytest.mark.parametrize("workers", [0, 1])
def test_errors_of_workers_say_no_more_than_those_of_this_process(teacher, workers):
    bad = TargetRows.of(image_rows([png(0), b"nothing"], [0, 1]))
    with pytest.raises(DatasetError, match="^Row 1 of `image` holds no image that can be decoded"):
        compute_outputs(teacher, bad, progress=False, workers=workers)
    teacher.preprocessor.processing_class.do_resize = False
    mixed = TargetRows.of(image_rows([png(0, 8), png(1, 12)], [0, 1]))
    with pytest.raises(TeacherUnavailableError, match="^cannot be run: ") as raised:
        compute_outputs(teacher, mixed, progress=False, workers=workers)
    assert raised.value.code is ProblemCode.INCOMPATIBLE


def test_the_callers_random_numbers_are_left_alone(teacher, rows):
    before = torch.get_rng_state()
    compute_outputs(teacher, rows, progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_long_texts_come_first(bert, texts, monkeypatch):
    teacher, rows = Teacher.load(bert, "text"), TargetRows.of(texts)
    widths = []
    plain = Teacher.outputs

    def measured(self, batch, *arguments, **settings):
        widths.append(batch["input_ids"].shape[1])
        return plain(self, batch, *arguments, **settings)

    monkeypatch.setattr(Teacher, "outputs", measured)
    compute_outputs(teacher, rows, batch_size=2, progress=False)
    # By characters, which tokens follow nearly: neighbours may change places.
    assert widths[0] == max(widths)
    assert sum(widths[:3]) > sum(widths[3:])


def test_autocast_runs_in_the_chosen_precision_and_has_outputs_of_its_own(teacher, rows, tmp_path):
    plain = compute_outputs(teacher, rows, progress=False, cache_dir=tmp_path / "outputs")
    cast = compute_outputs(teacher, rows, progress=False, cache_dir=tmp_path / "outputs", autocast_dtype=torch.bfloat16)
    plain, cast = (outputs.select(torch.arange(12)).logits for outputs in (plain, cast))
    assert not torch.equal(plain, cast)
    # Eight bits of significand, over the few layers of a tiny model.
    torch.testing.assert_close(plain, cast, rtol=0.05, atol=0.05)


def test_widths_that_change_between_batches_cost_the_teacher(teacher, rows, tmp_path, alter):
    def narrower(outputs, number):
        return outputs if number == 1 else ModelOutputs(outputs.features[:, :5], outputs.logits)

    alter(narrower)
    with pytest.raises(TeacherUnavailableError, match="its outputs have widths .*5.*, but .*16.* in a batch before"):
        compute_outputs(teacher, rows, batch_size=6, cache_dir=tmp_path / "outputs", progress=False)
    assert not list(tmp_path.glob("outputs/*/*.safetensors"))


def test_logits_that_come_and_go_cost_the_teacher(teacher, rows, alter):
    alter(lambda outputs, number: outputs if number == 1 else dataclasses.replace(outputs, logits=None))
    with pytest.raises(TeacherUnavailableError, match="in a batch before"):
        compute_outputs(teacher, rows, batch_size=6, progress=False)


@pytest.mark.parametrize("count", [1, 0])
def test_another_number_of_rows_or_no_width_costs_the_teacher(teacher, rows, alter, count):
    alter(lambda outputs, number: ModelOutputs(outputs.features[:, :0] if count == 0 else outputs.features[:1]))
    with pytest.raises(TeacherUnavailableError, match=r"its features have shape \[.*\], expected \[12, width\]"):
        compute_outputs(teacher, rows, progress=False)


def test_logits_without_a_class_each_are_refused_before_they_are_stored(teacher, rows, alter, tmp_path):
    alter(lambda outputs, _: dataclasses.replace(outputs, logits=outputs.logits[:, :2]))
    with pytest.raises(TeacherUnavailableError, match="logits have shape .*, but its configuration names 3 classes"):
        compute_outputs(teacher, rows, cache_dir=tmp_path / "outputs", progress=False)
    assert not list(tmp_path.rglob("outputs/**/*.safetensors"))


def test_rows_whose_inputs_are_large_come_in_small_batches(teacher, rows, alter, monkeypatch):
    sizes = []

    def note(outputs, _):
        sizes.append(len(outputs))
        return outputs

    alter(note)
    monkeypatch.setattr(extraction, "MOST_BATCH_BYTES", 2 * 3 * 16 * 16 * 4)
    run(extractor(teacher, rows), list(range(5)))
    assert sizes == [2, 2, 1]
    monkeypatch.setattr(extraction, "MOST_BATCH_BYTES", 1)
    run(extractor(teacher, rows), [0])
    assert sizes == [2, 2, 1, 1]


@pytest.mark.parametrize("workers", [0, 1])
def test_whatever_preprocessing_raises_costs_the_teacher_alone(tmp_path, texts, workers):
    save(tmp_path, tiny_bert(), word_tokenizer())
    path = tmp_path / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    del tokenizer["model"]["vocab"]["[UNK]"]
    path.write_text(json.dumps(tokenizer))
    teacher = Teacher.load(next(folder_teachers(tmp_path)), "text")
    unknown = TargetRows.of(text_rows(["red cat", "a zebra"], [0, 1]))
    with pytest.raises(TeacherUnavailableError, match="^cannot be run: WordLevel error: Missing"):
        compute_outputs(teacher, unknown, progress=False, workers=workers)


def test_a_pass_that_takes_too_long_is_given_up_between_two_batches(teacher, rows, alter, tmp_path):
    def slow(outputs, passes):
        time.sleep(0.3 if passes > 1 else 0.0)
        return outputs

    alter(slow)
    with pytest.raises(
        TeacherUnavailableError, match=r"takes more than 0.2 seconds \(`timeout`\). Allow more"
    ) as raised:
        compute_outputs(teacher, rows, batch_size=4, progress=False, timeout=0.2)
    assert raised.value.code is ProblemCode.TIMED_OUT
    assert len(compute_outputs(teacher, rows, batch_size=4, progress=False, timeout=60)) == len(rows)
