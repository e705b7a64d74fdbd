import os

import pytest
import tiny
import torch
from torch.utils.data import DataLoader

from hf_ctkd.data import Preprocessor, TargetRows
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import RowTransportLoss
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.collator import DistillationCollator, RowDataset


def _text_view(padding_side="right"):
    tokenizer = tiny.tokenizer()
    tokenizer.padding_side = padding_side
    return Preprocessor.of(tokenizer, "text", tiny.text_model().config)


def _image_view():
    return Preprocessor.of(tiny.processor(), "image", tiny.image_student().config)


@pytest.mark.parametrize(
    ("dataset", "view"),
    [
        (tiny.text_rows(), _text_view()),
        (tiny.text_rows(), _text_view("left")),
        (tiny.image_rows(), _image_view()),
    ],
    ids=["text", "text padded on the left", "image"],
)
def test_kept_rows_make_the_same_batches(dataset, view):
    rows = TargetRows.of(dataset)
    fresh, kept = RowDataset(rows, train=True), RowDataset(rows, train=True, preprocessor=view, contents=False)
    collate = DistillationCollator(view)
    for numbers in ([0, 4, 8], [3, 2, 1], [7]):
        first, second = (collate([data[number] for number in numbers]) for data in (fresh, kept))
        assert first["student"].keys() == second["student"].keys()
        for name, values in first["student"].items():
            assert torch.equal(values, second["student"][name]), name
        assert torch.equal(first["labels"], second["labels"])


def test_kept_rows_are_preprocessed_once_and_contents_only_read_where_needed():
    calls = []

    class Counting(Preprocessor):
        def __call__(self, inputs):
            calls.append(len(inputs))
            return super().__call__(inputs)

    view = Counting(tiny.processor(), "image")
    rows = TargetRows.of(tiny.image_rows())
    kept = RowDataset(rows, train=True, preprocessor=view, contents=False)
    assert [kept[3].content, kept[4].content] == [None, None]
    assert RowDataset(rows, train=True, preprocessor=view)[3].content is not None
    collate = DistillationCollator(view)
    collate([kept[0], kept[1]])
    assert calls == [24, 24]


@pytest.mark.parametrize("view", [None, _text_view()], ids=["raw", "kept"])
def test_a_loader_reads_the_rows_of_a_batch_at_once(monkeypatch, view):
    rows, read = TargetRows.of(tiny.text_rows()), []
    dataset = RowDataset(rows, train=True, preprocessor=view, targets=torch.arange(48.0).reshape(24, 2))
    inputs = TargetRows.inputs
    monkeypatch.setattr(TargetRows, "inputs", lambda self, numbers: read.append(list(numbers)) or inputs(self, numbers))
    batches = list(DataLoader(dataset, batch_size=10, collate_fn=list))
    assert read == [list(range(10)), list(range(10, 20)), list(range(20, 24))]
    for row in (row for batch in batches for row in batch):
        alone = dataset[row.number]
        assert (row.content, row.label) == (alone.content, alone.label)
        assert row.target.tolist() == [2.0 * row.number, 2.0 * row.number + 1]
        assert (row.inputs is None) == (view is None)
        assert view is None or all(torch.equal(values, alone.inputs[name]) for name, values in row.inputs.items())


def test_workers_of_a_loader_preprocess_nothing_that_is_kept(tmp_path):
    class Counting(Preprocessor):
        def __call__(self, inputs):
            with (tmp_path / "calls").open("a") as file:
                file.write(f"{os.getpid()}\n")
            return super().__call__(inputs)

    view = Counting(tiny.processor(), "image")
    kept = RowDataset(TargetRows.of(tiny.image_rows()), train=True, preprocessor=view, contents=False)
    loader = DataLoader(kept, batch_size=6, num_workers=2, collate_fn=DistillationCollator(view))
    for _ in range(2):
        assert sum(len(batch["labels"]) for batch in loader) == 24
    assert (tmp_path / "calls").read_text().splitlines() == [str(os.getpid())]


@pytest.mark.parametrize("cache_teacher_outputs", [True, False])
@pytest.mark.parametrize("modality", ["image", "text"])
def test_keeping_inputs_changes_no_step(config, image_teacher, text_teacher, modality, cache_teacher_outputs):
    image = modality == "image"

    def losses(cached):
        trainer = DistillationTrainer(
            tiny.image_student() if image else tiny.text_model(),
            config(cache_student_inputs=cached, cache_teacher_outputs=cache_teacher_outputs, num_train_epochs=2),
            teachers=[image_teacher if image else text_teacher],
            loss=RowTransportLoss(),
            train_dataset=tiny.image_rows() if image else tiny.text_rows(),
            processing_class=tiny.processor() if image else tiny.tokenizer(),
        )
        assert (trainer.train_dataset.preprocessor is not None) == cached
        trainer.train()
        return [log["loss"] for log in trainer.state.log_history if "loss" in log]

    assert losses(True) == losses(False)


def test_rows_that_the_trainer_has_not_checked_are_refused(make):
    trainer = make()
    trainer.train_dataset = tiny.image_rows()
    with pytest.raises(
        InvalidArgumentError, match=r"rows that the trainer has checked, got dict\. Pass `train_dataset`"
    ):
        trainer.train()
    with pytest.raises(InvalidArgumentError, match=r"got int\. .*evaluate a `datasets\.Dataset`"):
        trainer.evaluate([1, 2])


def test_inputs_are_not_kept_with_an_augmentation(config):
    trainer = DistillationTrainer(
        tiny.image_student(),
        config(cache_student_inputs=True),
        train_dataset=tiny.image_rows(),
        processing_class=tiny.processor(),
        augmentation=lambda image: image.rotate(90),
    )
    assert trainer.train_dataset.preprocessor is None
