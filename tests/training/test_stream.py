"""A stream of rows: its first rows set up the loss, and teachers run at every step."""

import pytest
import tiny
import torch
from datasets import Dataset, IterableDataset
from PIL import Image as PILImage

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import RowTransportLoss
from hf_ctkd.training import DistillationConfig
from hf_ctkd.training.stream import Stream


@pytest.fixture
def make(make, image_teacher):
    def trainer(args=None, **changes):
        return make(args, **{"teachers": [image_teacher], "loss": RowTransportLoss(), **changes})

    return trainer


def test_a_stream_trains_with_the_default_loss_and_records_the_rows_seen(make, config, caplog):
    rows = tiny.image_rows(60)
    trainer = make(config(max_steps=10, stream_rows=24), train_dataset=rows.to_iterable_dataset())
    assert "The first 24 rows of the stream set up the loss" in caplog.text
    trainer.train()
    assert trainer.state.global_step == 10
    assert set(trainer.evaluate()) >= {"eval_accuracy", "eval_loss"}
    task = trainer.record("run").task
    # 60 rows give 8 batches, the last one of 4 rows; then the stream starts anew.
    assert (task.train_rows, task.labelled_rows, task.label_names) == (76, 76, tuple(tiny.NAMES))


def test_rows_of_a_stream_are_those_of_the_data_set_in_order(make, config):
    rows = tiny.image_rows(100)
    trainer = make(config(stream_rows=12), train_dataset=rows.to_iterable_dataset())
    streamed = list(trainer.train_dataset)
    assert [row.number for row in streamed] == list(range(100)) and all(row.train for row in streamed)
    assert [row.label for row in streamed] == rows["label"][:]
    assert streamed[70].content.tobytes() == rows[70]["image"].tobytes()
    batch = trainer.data_collator(streamed[:4])
    assert len(batch["teacher_inputs"]) == 1 and "targets" not in batch


def generated(count: int = 40) -> IterableDataset:
    """Without features, with images that are not stored anywhere, and names as labels."""

    def rows():
        for row in range(count):
            label = None if row % 4 == 3 else ["dark", "bright"][row % 2]
            yield {"image": PILImage.new("L", (8, 8), 200 * (row % 2) + row), "label": label}

    return IterableDataset.from_generator(rows)


def test_a_generator_streams_and_labels_alone_are_read_from_labelled_rows(make, config):
    settings = {"model": tiny.image_student(2), "eval_dataset": None, "train_dataset": generated()}
    trainer = make(config(stream_rows=16), teachers=None, loss=None, **settings)
    assert len(list(trainer.train_dataset)) == 30
    trainer.train()
    assert trainer.student.config.id2label == {0: "bright", 1: "dark"}
    taught = make(config(stream_rows=16), **{**settings, "train_dataset": generated()})
    taught.train()
    assert taught.record("run").task.train_rows == 32 and taught.record("run").task.labelled_rows == 24


def test_workers_share_the_rows_of_a_stream(make, config):
    settings = {"train_dataset": tiny.image_rows(200).to_iterable_dataset(num_shards=2)}
    trainer = make(config(stream_rows=24, dataloader_num_workers=2), **settings)
    batches = list(trainer.get_train_dataloader())
    assert sum(len(batch["labels"]) for batch in batches) == 200
    pixels = torch.cat([batch["student"]["pixel_values"] for batch in batches])
    assert len(pixels.flatten(1).unique(dim=0)) == 200


def test_a_stream_needs_steps_and_rows(make, config):
    stream = tiny.image_rows().to_iterable_dataset()
    with pytest.raises(InvalidArgumentError, match="`max_steps` must be positive for a stream, .* got -1. Set it in"):
        make(config(max_steps=-1), train_dataset=stream)
    with pytest.raises(DatasetError, match="`train_dataset` is a stream without rows"):
        make(train_dataset=IterableDataset.from_generator(lambda: iter(())))
    with pytest.raises(InvalidArgumentError, match="`stream_rows` must be between 1 and"):
        config(stream_rows=0)
    assert Stream.of(tiny.image_rows(), DistillationConfig("x", use_cpu=True)) is None


def test_a_bad_row_is_named_with_its_place_in_the_stream(make, config):
    rows = Dataset.from_dict({"text": ["red", "green"] * 40, "label": [0, 1] * 39 + [0, 7]})
    settings = {"model": tiny.text_model(2), "processing_class": tiny.tokenizer(), "teachers": None, "loss": None}
    trainer = make(config(stream_rows=10), eval_dataset=None, train_dataset=rows.to_iterable_dataset(), **settings)
    with pytest.raises(
        DatasetError, match="Rows 64 to 79 of the stream: Row 15 of `label` must be one of the 2 classes"
    ):
        list(trainer.train_dataset)
