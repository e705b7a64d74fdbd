import numpy as np
import pytest
import tiny
import tiny_dense
import torch
from datasets import Dataset, Features, Image
from PIL import Image as PILImage
from transformers import (
    AutoImageProcessor,
    AutoModelForDepthEstimation,
    AutoModelForSemanticSegmentation,
    SegformerModel,
    TrainerCallback,
)

from hf_ctkd.cards import render_card
from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.losses import (
    InvertedProjectionLoss,
    KLLoss,
    ProbeLoss,
    ProjectionLoss,
    RowTransportLoss,
    SpectralLoss,
    WeightedSum,
)
from hf_ctkd.records import DistillationRecord

LOSSES = {
    "inverted": lambda: InvertedProjectionLoss(layers=[(-1, -1)]),
    "several layers": lambda: ProjectionLoss("traditional", distance="l2", layers=[(-1, -1), (0, 0)]),
    "pooled features": InvertedProjectionLoss,
    "attention": lambda: InvertedProjectionLoss("at", layers=[(-1, -1)]),
    "spectral": lambda: SpectralLoss(layer=-1),
    "sum": lambda: WeightedSum({InvertedProjectionLoss(layers=[(-1, -1)]): 1.0, SpectralLoss(layer=-1): 0.5}),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("task", ["make", "make_depth"])
def test_trains_with_losses_that_read_features(request, name, task, config):
    loss = LOSSES[name]()
    teachers = {} if name != "spectral" else {"teachers": None}
    trainer = request.getfixturevalue(task)(args=config(max_steps=2), loss=loss, **teachers)
    trainer.train()
    first = trainer.state.log_history[0]
    own = [first[key] for key in first if key in ("inverted_projection", "projection", "spectral")]
    assert own or name == "sum"
    assert first["loss"] > first["task_loss"] > 0


def test_teacher_grid_is_resized_to_the_students(make):
    trainer = make()
    batch = next(iter(trainer.get_train_dataloader()))
    student, teacher = trainer.student_with_loss.outputs(batch["student"]), trainer.teacher_runner.outputs(batch)[0]
    assert student.hidden[0].grid != teacher.hidden[0].grid
    terms = trainer.student_with_loss.loss(student, (teacher,), torch.full((len(student),), -100))
    terms["inverted_projection"].backward()
    assert any(parameter.grad is not None for parameter in trainer.student.parameters())


@pytest.mark.parametrize("loss", [ProbeLoss, RowTransportLoss, KLLoss])
def test_loss_that_reads_classes_of_rows_is_refused(make, loss):
    with pytest.raises(InvalidArgumentError, match=f"`loss` {loss.__name__} reads one class a row"):
        make(loss=loss())


@pytest.mark.parametrize(("task", "auto"), [("make", AutoModelForSemanticSegmentation),
                                            ("make_depth", AutoModelForDepthEstimation)])  # fmt: skip
def test_published_folder_opens_with_its_auto_class_and_has_a_card(request, tmp_path, task, auto):
    trainer = request.getfixturevalue(task)()
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    folder = tmp_path / "student"
    again, info = auto.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = AutoImageProcessor.from_pretrained(folder)(tiny_dense.scenes(2)[0], return_tensors="pt")
    expected = trainer.student_with_loss.eval().outputs(inputs).dense
    output = again.eval()(**inputs)
    torch.testing.assert_close(output.get("logits", output.get("predicted_depth")), expected)
    record = DistillationRecord.load(folder / "distillation.json")
    assert set(record.results) == set(trainer.task.metric_names) and record.transport_map is None
    card = render_card(record)
    assert auto.__name__ in card and f"pipeline_tag: {trainer.task.tag('image')}" in card


class _Keep(TrainerCallback):
    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        self.gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])[::7]


def _one_step(make, config, rows, accumulation, student):
    keep = _Keep()
    trainer = make(
        args=config(
            max_steps=1, per_device_train_batch_size=12 // accumulation, gradient_accumulation_steps=accumulation,
            max_grad_norm=0.0, learning_rate=0.0, train_sampling_strategy="sequential",
        ),
        model=student(),
        loss=ProjectionLoss("traditional", distance="l2", normalise="none", layers=[(-1, -1)]),
        train_dataset=rows,
        eval_dataset=None,
        callbacks=[keep],
    )  # fmt: skip
    trainer.train()
    logged = trainer.state.log_history[0]
    return {name: logged[name] for name in ("loss", "task_loss", "projection")}, keep.gradient


@pytest.mark.parametrize("accumulation", [2, 4])
@pytest.mark.parametrize("kind", ["masks", "depths"])
def test_step_does_not_depend_on_how_it_is_cut(make, config, accumulation, kind):
    if kind == "masks":
        # Labelled pixels are spread unevenly: rows without a mask, and masks with more and with fewer ignored lines.
        images, masks = tiny_dense.scenes(12)
        for row, mask in enumerate(masks):
            mask[:row] = 255
        stored = [PILImage.fromarray(mask) if row < 8 else None for row, mask in enumerate(masks)]
        features = Features({"image": Image(), "mask": Image()})
        rows = Dataset.from_dict({"image": images, "mask": stored}, features=features)
        student = tiny_dense.normless_mask_student
    else:
        rows, student = tiny_dense.depth_rows(12, unlabelled=5), tiny_dense.depth_student
    whole, gradient = _one_step(make, config, rows, 1, student)
    cut, found = _one_step(make, config, rows, accumulation, student)
    assert whole["task_loss"] > 0 and cut == pytest.approx(whole, rel=2e-4)
    torch.testing.assert_close(found, gradient, rtol=2e-3, atol=2e-5)


def test_row_without_a_label_is_distilled_and_gives_no_task_loss(make):
    trainer = make(train_dataset=tiny_dense.mask_rows(12, unlabelled=4))
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(8, 12)])
    assert (batch["labels"] == -100).all()
    outputs = trainer.student_with_loss(batch["student"], batch["labels"], trainer.teacher_runner.outputs(batch))
    assert outputs["task_loss"].item() == 0.0
    outputs["inverted_projection"].backward()
    assert any(p.grad is not None and p.grad.any() for p in trainer.student.parameters())
    assert trainer.record().task.labelled_rows == 8


def test_images_of_different_sizes_are_labelled_each_in_its_own_way(make):
    small, large = tiny_dense.mask_rows(4, side=16), tiny_dense.mask_rows(4, side=40, seed=3)
    rows = Dataset.from_dict(
        {name: [*small[name], *large[name]] for name in ("image", "mask")}, features=small.features
    )
    trainer = make(train_dataset=rows, processing_class=tiny_dense.processor(24))
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(8)])
    assert batch["labels"].shape == (8, 24, 24)
    shares = [np.mean(np.asarray(mask) > 0) for mask in rows["mask"]]
    assert (batch["labels"] > 0).float().mean((1, 2)).tolist() == pytest.approx(shares, abs=0.05)


def _with_mask(mask, row=7):
    rows = tiny_dense.mask_rows(12)
    masks = list(rows["mask"])
    masks[row] = mask
    return Dataset.from_dict({"image": rows["image"], "mask": masks}, features=rows.features)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (PILImage.new("L", (16, 16), 3), r"Row 7 of `mask` must hold class ids in \[0, 3\), or 255 or -100 .* got 3"),
        (PILImage.new("L", (8, 16)), "Row 7 of `mask` must be of the size of its image, 16x16, got 8x16"),
        (PILImage.new("RGB", (16, 16)), r"Row 7 of `mask` must hold one value a pixel, .* \(16, 16, 3\)"),
    ],
)
def test_wrong_mask_is_named_with_its_row(make, mask, message):
    trainer = make(train_dataset=_with_mask(mask))
    with pytest.raises(DatasetError, match=message):
        trainer.train_dataset[7]
    with pytest.raises(DatasetError, match=message.replace("Row 7", "Row 1")):
        make(train_dataset=_with_mask(mask, row=1))  # one of the first is found before training starts


def test_mask_that_cannot_be_decoded_is_named(make):
    rows = tiny_dense.mask_rows(12)
    raw = [dict(mask) for mask in rows.cast_column("mask", Image(decode=False))["mask"]]
    raw[7]["bytes"] = raw[7]["bytes"][:20]
    broken = Dataset.from_dict({"image": rows["image"], "mask": raw}, features=rows.features)
    with pytest.raises(DatasetError, match="Row 7 of `mask` holds no image that can be decoded"):
        make(train_dataset=broken).train_dataset[7]


def test_rows_without_a_label_column_are_refused(make):
    rows = tiny_dense.mask_rows(12).rename_column("mask", "what")
    with pytest.raises(DatasetError, match="Found no label column .* Name it with `label_column`"):
        make(train_dataset=rows)


def test_label_column_can_be_named(make, config):
    rows = tiny_dense.mask_rows(12).rename_column("mask", "what")
    trainer = make(args=config(label_column="what"), train_dataset=rows, eval_dataset=rows)
    assert trainer.train_dataset.rows.input_columns == ("image",)
    assert trainer.train_dataset[0].label.shape == (16, 16)


def test_augmentation_changes_image_and_label_alike(make):
    def flip(image, label):
        flipped = image.transpose(PILImage.Transpose.FLIP_LEFT_RIGHT)
        return flipped, None if label is None else label[:, ::-1]

    trainer, plain = make(augmentation=flip), make()
    rows = [trainer.train_dataset[row] for row in range(4)]
    changed, kept = trainer.data_collator(rows), plain.data_collator(rows)
    assert torch.equal(changed["labels"], kept["labels"].flip(-1))
    torch.testing.assert_close(changed["student"]["pixel_values"], kept["student"]["pixel_values"].flip(-1))


@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        (lambda image, label: image, "must give image and label back"),
        (lambda image, label: (image.resize((8, 8)), label), "label of the size of its image, 8x8, got 16x16"),
    ],
)
def test_augmentation_that_leaves_the_label_behind_is_refused(make, augmentation, message):
    trainer = make(augmentation=augmentation)
    with pytest.raises(InvalidArgumentError, match=message):
        trainer.data_collator([trainer.train_dataset[0]])


def test_inputs_may_be_kept(make, config):
    fresh, kept = make(), make(args=config(cache_student_inputs=True))
    for name in ("labels", "numbers"):
        first, second = (
            trainer.data_collator([trainer.train_dataset[row] for row in (3, 1)]) for trainer in (fresh, kept)
        )
        assert torch.equal(first[name], second[name])
    assert torch.equal(first["student"]["pixel_values"], second["student"]["pixel_values"])


def test_student_without_a_head_is_refused(make):
    with pytest.raises((InvalidArgumentError, DatasetError)):
        make(model=SegformerModel(tiny_dense.mask_student().config))


def test_random_teacher(make, image_teacher):
    trainer = make(teachers=[f"random:{image_teacher}"])
    trainer.train()
    assert trainer.record().teachers[0].candidate.random_weights


def test_model_init_makes_dense_students_too(make, config):
    trainer = make(model=None, model_init=lambda: tiny_dense.mask_student(), args=config(max_steps=1))
    trainer.train()
    assert trainer.state.global_step == 1


def test_fingerprint_follows_the_masks(make):
    one, other = (make(train_dataset=_with_mask(PILImage.new("L", (16, 16), value))) for value in (0, 1))
    found = [trainer.task.fingerprint(trainer.train_dataset.rows) for trainer in (one, other, one)]
    assert found[0] != found[1] and found[0] == found[2]


def test_classification_is_what_it_was(make):
    trainer = make(
        model=tiny.image_student(), train_dataset=tiny.image_rows(), eval_dataset=None, loss=InvertedProjectionLoss()
    )
    assert next(iter(trainer.get_train_dataloader()))["labels"].ndim == 1


@pytest.mark.parametrize("task", ["make", "make_depth"])
def test_images_without_labels_are_predicted_and_give_no_metrics(request, task):
    trainer = request.getfixturevalue(task)()
    rows = tiny_dense.mask_rows(6) if task == "make" else tiny_dense.depth_rows(6)
    column = "mask" if task == "make" else "depth"
    known = trainer.predict(rows)
    assert any(name.endswith("_low") for name in known.metrics)
    missing = tiny_dense.mask_rows(6, unlabelled=6) if task == "make" else tiny_dense.depth_rows(6, unlabelled=6)
    unlabelled = [rows.remove_columns(column), missing]
    if task == "make":
        unlabelled.append(tiny_dense.mask_rows(6, ignored=16))
    for dataset in unlabelled:
        found = trainer.predict(dataset)
        np.testing.assert_array_equal(found.predictions, known.predictions)
        assert found.label_ids is None
        assert not any(name.endswith("_low") for name in found.metrics)
    with pytest.raises(DatasetError, match="must have labelled pixels"):
        trainer.evaluate(missing)
