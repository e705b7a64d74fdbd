import dataclasses

import datasets
import pytest
import tiny
import torch
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    ResNetModel,
    TrainerCallback,
)

from hf_ctkd.costs import EmpiricalCost
from hf_ctkd.errors import DatasetError, InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.losses import (
    BSSLoss,
    CommitteeLoss,
    InvertedProjectionLoss,
    LabelTransportLoss,
    ProbeLoss,
    RowTransportLoss,
    TeacherFreeLoss,
)
from hf_ctkd.records import DistillationRecord
from hf_ctkd.training import DistillationConfig, DistillationTrainer


@pytest.fixture
def make(make, image_teacher):
    def trainer(args=None, **changes):
        return make(args, **{"teachers": [image_teacher], "loss": ProbeLoss(), **changes})

    return trainer


LOSSES = {
    "probe": ProbeLoss,
    "row_transport": RowTransportLoss,
    "label_transport": lambda: LabelTransportLoss(EmpiricalCost()),
    "inverted": InvertedProjectionLoss,
    "committee": lambda: CommitteeLoss(top_k=1, question=True),
}


@pytest.mark.parametrize("name", LOSSES)
def test_trains_with_every_kind_of_loss_and_logs_each_term(make, name):
    loss = LOSSES[name]()
    trainer = make(loss=loss)
    trainer.train()
    first = trainer.state.log_history[0]
    own = set(first) - {"loss", "grad_norm", "learning_rate", "epoch", "step", "task_loss"}
    assert own, "the loss logs no term of its own"
    terms = [first[key] for key in own if key in trainer.student_with_loss(**_batch(trainer))]
    assert first["loss"] == pytest.approx(first["task_loss"] + sum(terms), rel=1e-4)


class Tracker(TrainerCallback):
    """Receives what TensorBoard, Weights & Biases and Trackio receive."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))


def test_trackers_receive_each_term_and_the_weight_of_each_teacher(make):
    trainer, tracker = make(loss=RowTransportLoss()), Tracker()
    trainer.add_callback(tracker)
    trainer.train()
    first = tracker.logs[0]
    assert {"loss", "task_loss", "row_transport", "weight/squares"} <= set(first)
    assert first["weight/squares"] == pytest.approx(trainer.record().teachers[0].weight)
    assert all(isinstance(value, int | float) for value in first.values())


class Called(BSSLoss):
    """Has a term and a diagnostic of any name."""

    def __init__(self, term="own", diagnostic="own_norm"):
        super().__init__()
        self.term, self.diagnostic = term, diagnostic

    def forward(self, student, teachers, labels):
        return {self.term: student.features.square().mean()}

    def diagnostics(self):
        return {self.diagnostic: 1.0}


@pytest.mark.parametrize("name", ["logits", "task_loss", "loss", "grad_norm"])
def test_names_of_others_are_refused_for_terms_and_diagnostics(make, name):
    for loss in (Called(term=name), Called(diagnostic=name), Called(term=name, diagnostic=name)):
        with pytest.raises(InvalidArgumentError, match=f"`loss` Called calls a term or a diagnostic '{name}'"):
            make(teachers=None, loss=loss).train()
    with pytest.raises(InvalidArgumentError, match="a diagnostic 'own'"):
        make(teachers=None, loss=Called(diagnostic="own")).train()
    make(teachers=None, loss=Called()).train()


def _batch(trainer):
    batch = trainer._prepare_inputs(next(iter(trainer.get_train_dataloader())))
    return {"student": batch["student"], "labels": batch["labels"], "teachers": trainer.teacher_runner.outputs(batch)}


def test_student_learns_and_teacher_does_not_move(make, config):
    trainer = make(args=config(max_steps=40, logging_steps=10))
    teacher = trainer.teacher_runner.teachers[0].model
    before = [parameter.clone() for parameter in teacher.parameters()]
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > 0.9
    assert all(torch.equal(old, new) for old, new in zip(before, teacher.parameters(), strict=True))
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_evaluation_loss_is_the_task_loss_alone(make):
    trainer = make(loss=InvertedProjectionLoss())
    metrics = trainer.evaluate()
    logits, labels = trainer.predict(tiny.image_rows(12, seed=5))[:2]
    expected = torch.nn.functional.cross_entropy(torch.tensor(logits), torch.tensor(labels))
    assert metrics["eval_loss"] == pytest.approx(float(expected), rel=1e-4)


def test_metrics_carry_their_interval(make):
    metrics = make().evaluate()
    assert metrics["eval_accuracy_low"] <= metrics["eval_accuracy"] <= metrics["eval_accuracy_high"]


def test_weight_of_the_distillation_scales_its_terms_only(make, config):
    logged = []
    for weight in (1.0, 3.0):
        trainer = make(args=config(max_steps=1, distillation_weight=weight))
        trainer.train()
        logged.append(trainer.state.log_history[0])
    assert logged[1]["probe"] == pytest.approx(3 * logged[0]["probe"], rel=1e-4)
    assert logged[1]["task_loss"] == pytest.approx(logged[0]["task_loss"], rel=1e-4)


def test_unlabelled_rows_are_distilled_and_give_no_task_loss(make):
    trainer = make(train_dataset=tiny.image_rows(24, unlabelled=12))
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(12, 24)])
    outputs = trainer.student_with_loss(batch["student"], batch["labels"], trainer.teacher_runner.outputs(batch))
    assert outputs["task_loss"].item() == 0.0
    outputs["probe"].backward()
    assert any(parameter.grad is not None for parameter in trainer.student.parameters())


def test_kept_outputs_equal_those_of_teachers_that_run_at_every_step(make, config):
    kept = make(args=config(max_steps=3))
    running = make(args=config(max_steps=3, cache_teacher_outputs=False))
    assert kept.teacher_runner.cached and not running.teacher_runner.cached
    kept.train()
    running.train()
    assert [log["loss"] for log in kept.state.log_history if "loss" in log] == pytest.approx(
        [log["loss"] for log in running.state.log_history if "loss" in log], rel=1e-4
    )


def test_augmentation_is_applied_once_for_student_and_teacher_and_not_in_evaluation(make):
    seen = []

    def invert(image):
        seen.append(image)
        return image.point(lambda value: 255 - value)

    trainer = make(augmentation=invert, loss=InvertedProjectionLoss())
    assert not trainer.teacher_runner.cached
    seen.clear()
    batch = trainer.data_collator([trainer.train_dataset[row] for row in range(4)])
    assert len(seen) == 4
    assert len(batch["teacher_inputs"]) == 1
    plain = trainer.teacher_runner.teachers[0].collate([image.point(lambda value: 255 - value) for image in seen])
    torch.testing.assert_close(batch["teacher_inputs"][0]["pixel_values"], plain["pixel_values"])
    trainer.evaluate()
    assert len(seen) == 4


def test_published_folder_holds_the_student_alone(make, tmp_path):
    trainer = make(loss=InvertedProjectionLoss())
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    folder = tmp_path / "student"
    assert (
        not list(folder.glob("*.bin")) and not list(folder.glob("*.pt")) and not list(folder.glob("distillation_loss*"))
    )
    again, info = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    inputs = AutoImageProcessor.from_pretrained(folder)(
        [image.convert("RGB") for image in tiny.image_rows(3)["image"]], return_tensors="pt"
    )
    trainer.student.eval()
    torch.testing.assert_close(again(**inputs).logits, trainer.student(**inputs).logits)
    assert again.config.id2label == dict(enumerate(tiny.NAMES))
    record = DistillationRecord.load(folder / "distillation.json")
    assert record.results["accuracy"].low is not None
    assert record.teachers[0].candidate.name == "squares"
    assert record.student.rows_per_second > 0


@pytest.mark.parametrize("loss", [InvertedProjectionLoss, CommitteeLoss])
def test_resuming_goes_on_exactly_where_it_stopped(make, config, tmp_path, loss):
    whole = make(args=config(max_steps=6, save_strategy="steps", save_steps=3), loss=loss())
    whole.train()
    checkpoint = tmp_path / "student" / "checkpoint-3"
    assert (checkpoint / "distillation_loss.safetensors").exists()
    again = make(args=config(max_steps=6), model=tiny.image_student(seed=9), loss=loss())
    again.train(resume_from_checkpoint=str(checkpoint))
    for (name, expected), found in zip(
        whole.student_with_loss.state_dict().items(), again.student_with_loss.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(found, expected, msg=name)


def test_checkpoint_of_another_loss_or_other_teachers_is_refused(make, config, image_teacher, tmp_path):
    other = str(tiny.save_image_teacher(tmp_path / "other", seed=8, classes=7, size=8))
    runs = {
        "probe": {},
        "another loss": {"loss": InvertedProjectionLoss()},
        "another teacher": {"loss": InvertedProjectionLoss(), "teachers": [other]},
        "one more teacher": {"teachers": [image_teacher, other]},
        "none": {"loss": None, "teachers": None},
    }
    checkpoints = {}
    for name, changes in runs.items():
        args = config(max_steps=2, save_strategy="steps", save_steps=2, output_dir=str(tmp_path / name))
        make(args=args, **changes).train()
        checkpoints[name] = str(tmp_path / name / "checkpoint-2")
    for name, changes in runs.items():
        again = make(args=config(max_steps=3), **changes)
        for checkpoint in (checkpoints[made] for made in checkpoints if made != name):
            with pytest.raises(InvalidArgumentError, match="`resume_from_checkpoint` .* was made with another loss or"):
                again.train(resume_from_checkpoint=checkpoint)
        again.train(resume_from_checkpoint=checkpoints[name])
        assert again.state.global_step == 3


def test_best_checkpoint_is_restored_with_the_weights_of_the_loss(make, config):
    trainer = make(
        args=config(
            max_steps=4, save_strategy="steps", save_steps=2, eval_strategy="steps", eval_steps=2,
            load_best_model_at_end=True, metric_for_best_model="accuracy",
        ),
        loss=InvertedProjectionLoss(),
    )  # fmt: skip
    trainer.train()
    assert trainer.state.best_model_checkpoint is not None


def test_text_student_and_teacher_with_different_tokenizers(config, text_teacher):
    trainer = DistillationTrainer(
        tiny.text_model(),
        config(max_steps=30, learning_rate=5e-3, logging_steps=10),
        teachers=[text_teacher],
        loss=RowTransportLoss(),
        train_dataset=tiny.text_rows(),
        eval_dataset=tiny.text_rows(10),
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    assert trainer.evaluate()["eval_accuracy"] > 0.9
    trainer.save_model()
    AutoModelForSequenceClassification.from_pretrained(trainer.args.output_dir)


def test_student_of_the_hub_brings_its_licence_which_is_looked_up_once(make, hub):
    hub.add("org/small", {"config.json": b"{}", "README.md": b"---\nlicense: mit\n---\n"})
    trainer = make(model=named(tiny.image_student(), "org/small"))
    for _ in range(2):
        student = trainer.record("run").student
        assert (student.base_model, student.license) == ("org/small", "mit")
    assert len(hub.seen("GET /api/models/org/small")) == 1


def test_student_of_a_folder_keeps_its_name_without_its_path_and_its_licence(make, hub, tmp_path):
    folder = tmp_path / "earlier"
    tiny.image_student().save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    model = AutoModelForImageClassification.from_pretrained(folder, id2label=dict(enumerate(tiny.NAMES)))
    trainer = make(model=model, teachers=None, loss=None)
    trainer.create_model_card()
    student = DistillationRecord.load(tmp_path / "student" / "distillation.json").student
    assert (student.base_model, student.license) == ("earlier", "cc-by-nc-4.0")
    card = (tmp_path / "student" / "README.md").read_text()
    assert "started from earlier" in card and "license: cc-by-nc-4.0" in card
    assert str(tmp_path) not in card and not hub.requests


def test_student_of_a_configuration_started_from_nothing(make, hub):
    student = make().record("run").student
    assert (student.base_model, student.license) == (None, None)
    assert not hub.requests


def named(model, name):
    model.config.name_or_path = name
    return model


def test_several_teachers(make, image_teacher, tmp_path):
    other = tiny.save_image_teacher(tmp_path / "other", seed=8, classes=7, size=8)
    trainer = make(teachers=[image_teacher, str(other)], loss=RowTransportLoss())
    trainer.train()
    assert len(trainer.record().teachers) == 2


def test_teachers_without_a_loss_get_the_default_one(make):
    assert isinstance(make(loss=None).loss, RowTransportLoss)


def test_without_a_loss_it_is_the_baseline(make):
    trainer = make(teachers=None, loss=None)
    trainer.train()
    first = trainer.state.log_history[0]
    assert first["loss"] == pytest.approx(first["task_loss"])
    assert trainer.record().loss.name == "none"


def test_model_init_makes_a_fresh_student_and_loss(make, config):
    trainer = make(model=None, model_init=lambda: tiny.image_student(seed=2), args=config(max_steps=2))
    trainer.train()
    assert trainer.state.global_step == 2


def test_every_student_of_model_init_gets_the_names_of_the_classes_and_is_checked(make, config):
    trainer = make(model=None, model_init=lambda: tiny.image_student(), args=config(max_steps=1))
    trainer.train()
    trainer.save_model()
    saved = AutoModelForImageClassification.from_pretrained(trainer.args.output_dir)
    assert saved.config.id2label == dict(enumerate(tiny.NAMES))
    sizes = iter([3, 5])  # first, trained
    changing = make(model=None, model_init=lambda: tiny.image_student(next(sizes)), args=config(max_steps=1))
    with pytest.raises(InvalidArgumentError, match="must have 3 classes .* got 5"):
        changing.train()


def test_student_of_model_init_is_trained_as_one_that_is_given(make, config):
    args = {"max_steps": 2, "label_smoothing_factor": 0.5, "seed": 3, "data_seed": 3}
    given = make(model=tiny.image_student(seed=2), args=config(**args), loss=RowTransportLoss())
    made = make(model=None, model_init=lambda: tiny.image_student(seed=2), args=config(**args), loss=RowTransportLoss())
    for trainer in (given, made):
        trainer.train()
    for one, other in zip(given.state.log_history[:2], made.state.log_history[:2], strict=True):
        assert {name: one[name] for name in ("task_loss", "row_transport", "input_share")} == pytest.approx(
            {name: other[name] for name in ("task_loss", "row_transport", "input_share")}
        )


def test_default_loss_reads_the_input_of_students_of_images_and_texts(make, text_teacher):
    texts = {
        "model": tiny.text_model(),
        "processing_class": tiny.tokenizer(),
        "teachers": [text_teacher],
        "train_dataset": tiny.text_rows(),
        "eval_dataset": tiny.text_rows(8),
    }
    for changes in ({}, texts):
        trainer = make(loss=None, **changes)
        trainer.train()
        assert 0 <= trainer.state.log_history[0]["input_share"] <= 1
        assert torch.isfinite(torch.tensor(trainer.evaluate()["eval_loss"]))
        record = trainer.record()
        assert len(record.teachers) == 1 and record.teachers[0].weight is not None
        assert record.loss.input_share == pytest.approx(trainer.state.log_history[0]["input_share"], abs=1e-3)


def test_raw_input_teaches_without_a_teacher(make):
    trainer = make(teachers=None, loss=TeacherFreeLoss(), train_dataset=tiny.image_rows(24, unlabelled=12))
    trainer.train()
    assert trainer.state.log_history[0]["teacher_free"] > 0
    assert trainer.record().teachers == ()


def test_a_student_is_trained_under_autocast(make, config):
    for loss in (ProbeLoss(), InvertedProjectionLoss(), RowTransportLoss()):
        trainer = make(args=config(bf16=True), loss=loss)
        trainer.train()
        assert torch.isfinite(torch.tensor(trainer.evaluate()["eval_loss"]))
        trainer.save_model()
        assert next(trainer.student.parameters()).dtype == torch.float32


def test_label_smoothing_applies_to_the_task_loss(make, config):
    trainer = make(args=config(max_steps=1, label_smoothing_factor=0.5))
    trainer.train()
    plain = make(args=config(max_steps=1))
    plain.train()
    assert trainer.state.log_history[0]["task_loss"] != pytest.approx(plain.state.log_history[0]["task_loss"])


def test_activation_checkpointing_reaches_the_student(make, config):
    names = {field.name for field in dataclasses.fields(DistillationConfig)}
    # transformers 5.18 has the argument by its earlier name.
    argument = "activation_checkpointing" if "activation_checkpointing" in names else "gradient_checkpointing"
    trainer = make(model=tiny.normless_student(), args=config(max_steps=1, **{argument: True}))
    trainer.train()
    layer = trainer.student.vit.get_submodule(
        "layers.0" if hasattr(trainer.student.vit, "layers") else "encoder.layer.0"
    )
    assert layer.gradient_checkpointing


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"teachers": None}, InvalidArgumentError, "`teachers` must name at least one"),
        ({"processing_class": None}, InvalidArgumentError, "`processing_class` must be"),
        ({"model": tiny.image_student(classes=5)}, InvalidArgumentError, "must have 3 classes .* got 5"),
        (dict.fromkeys(("train_dataset", "eval_dataset", "teachers", "loss")), InvalidArgumentError, "got neither"),
        ({"teachers": ["no/such-model-at-all"]}, TeacherUnavailableError, "no/such-model-at-all"),
        ({"processing_class": tiny.tokenizer()}, InvalidArgumentError, "must be an image processor"),
    ],
)  # fmt: skip
def test_bad_input_is_named(make, changes, error, message):
    with pytest.raises(error, match=message):
        make(**changes)


def test_student_without_a_head_is_refused(make):
    headless = ResNetModel(tiny.image_student().config)
    with pytest.raises((InvalidArgumentError, ValueError), match="head"):
        make(model=headless)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_student_in_half_precision_is_refused(make, dtype):
    said = f"must have weights in torch.float32 to be trained, got {dtype}. Load it with `dtype=torch.float32`"
    for changes in (
        {"model": tiny.image_student().to(dtype)},
        {"model": None, "model_init": lambda: tiny.image_student().to(dtype)},
    ):
        with pytest.raises(InvalidArgumentError, match=said):
            make(**changes)


def test_class_with_one_row_is_named(make):
    rows = tiny.image_rows(24).select([0, 1, 2, 3, 4, 6, 7])
    with pytest.raises(DatasetError, match="'striped' has a single labelled row"):
        make(train_dataset=rows)


def test_student_that_calls_the_classes_otherwise_is_refused(make):
    student = tiny.image_student()
    student.config.id2label = {0: "bright", 1: "dark", 2: "striped"}
    with pytest.raises(InvalidArgumentError, match="calls its classes"):
        make(model=student)


def test_evaluation_rows_with_other_classes_are_refused(make):
    rows = tiny.image_rows(12).cast_column("label", datasets.ClassLabel(names=["bright", "dark", "striped"]))
    with pytest.raises(DatasetError, match="`eval_dataset`"):
        make(eval_dataset=rows)


def test_optimizer_without_the_weights_of_the_loss_is_refused(make):
    student = tiny.image_student()
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    with pytest.raises(InvalidArgumentError, match="`optimizers` must hold"):
        make(model=student, optimizers=(optimizer, None), loss=InvertedProjectionLoss())
