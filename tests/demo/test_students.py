import doctest

import pytest
import torch

from hf_ctkd.demo import students
from hf_ctkd.demo.students import build_student, image_student, text_student
from hf_ctkd.demo.tasks import build_task
from hf_ctkd.errors import InvalidArgumentError


def test_examples_run():
    assert doctest.testmod(students, extraglobs={"build_task": build_task}).failed == 0


def test_an_image_student_is_fresh_small_and_named():
    task = build_task("digits", labels=50, seed=0)
    model, processor = build_student(task, seed=1)
    assert model.config.id2label[9] == "nine" and 10_000 < model.num_parameters() < 30_000
    pixels = processor(task.labelled[:4]["image"], return_tensors="pt")["pixel_values"]
    assert pixels.shape == (4, 3, 16, 16) and model(pixels).logits.shape == (4, 10)


def test_a_text_student_reads_with_a_vocabulary_of_its_own_task(text_task):
    model, tokenizer = build_student(text_task)
    assert "filter" in tokenizer.get_vocab()
    batch = tokenizer(text_task.labelled["text"][:], padding=True, truncation=True, return_tensors="pt")
    assert model(**batch).logits.shape == (8, 2)


def test_the_seed_gives_the_weights_and_leaves_the_generator_alone(text_task):
    state = torch.random.get_rng_state()
    first, second, other = (build_student(text_task, seed=seed)[0].classifier.weight for seed in (0, 0, 1))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_student_of_the_other_modality_is_refused(text_task):
    with pytest.raises(InvalidArgumentError, match="`task` 'toy' has text rows, but this student takes image rows"):
        image_student(text_task)
    with pytest.raises(InvalidArgumentError, match="has image rows, but this student takes text rows"):
        text_student(build_task("digits", labels=50, seed=0))
