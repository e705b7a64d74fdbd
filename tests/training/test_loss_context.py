"""What a loss is set up with, beside the teachers: outputs of the untrained student."""

import itertools

import pytest
import tiny
import torch
from transformers import TrainerCallback

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import BSSLoss, BTuningLoss, ProbeLoss, RelationshipMatchingLoss, RowTransportLoss, WeightedSum
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.tasks import Classification
from hf_ctkd.teachers import FeatureReader, Teacher
from hf_ctkd.training import DistillationTrainer
from hf_ctkd.training.loss_context import StudentRows, default_loss, planned_steps
from hf_ctkd.training.teacher_runner import candidate_named


class Reader(BSSLoss):
    """Reads the student's rows when it is set up."""

    def setup(self, context):
        rows = torch.arange(len(context.student_rows)) % 3 == 1
        self.read = context.student_rows.select(rows)
        self.chunks = list(context.student_rows.chunks(10))
        self.labels = context.labels


def test_student_rows_are_those_of_the_student_in_evaluation_mode(make):
    trainer = make(loss=Reader())
    loss, rows = trainer.loss, trainer._reference_rows
    assert trainer.model.training
    trainer.model.eval()
    with torch.no_grad():
        outputs = trainer.student_with_loss.outputs(trainer._preprocessor(rows.inputs(range(len(rows)))))
    every_third = torch.arange(len(rows)) % 3 == 1
    torch.testing.assert_close(loss.read.features, outputs.features[every_third])
    torch.testing.assert_close(loss.read.logits, outputs.logits[every_third])
    assert [part.start for part, _ in loss.chunks] == list(range(0, len(rows), 10))
    torch.testing.assert_close(torch.cat([part.features for _, part in loss.chunks]), outputs.features)


def test_b_tuning_trains_on_targets_and_survives_a_checkpoint(make, config, image_teacher, tmp_path):
    args = config(max_steps=4, save_strategy="steps", save_steps=2)
    trainer = make(args, teachers=[image_teacher], loss=BTuningLoss())
    fitted = trainer.loss.student_map.clone()
    assert trainer.train_dataset.targets.shape[1] == len(trainer.loss.student_map)
    trainer.train()
    expected = trainer.predict(trainer.eval_dataset).predictions
    assert torch.equal(trainer.loss.student_map, fitted) and fitted.any()
    resumed = make(args, teachers=[image_teacher], loss=BTuningLoss())
    resumed.train(resume_from_checkpoint=f"{args.output_dir}/checkpoint-2")
    torch.testing.assert_close(*map(torch.tensor, (resumed.predict(resumed.eval_dataset).predictions, expected)))


def test_the_untrained_students_features_are_read_once_and_stay(make, config, image_teacher, monkeypatch):
    read = []
    plain = StudentRows.select
    monkeypatch.setattr(StudentRows, "select", lambda self, rows: read.append(len(rows)) or plain(self, rows))
    monkeypatch.setattr("hf_ctkd.training.loss_context.CHUNK_ROWS", 10)
    trainer = make(config(max_steps=2), teachers=[image_teacher], loss=RowTransportLoss(input_features="student"))
    assert read == [10, 10, 4]
    kept = trainer._context.student_rows.select(torch.arange(24))
    assert len(kept) == len(trainer._context.student_rows) == 24 and 0 < trainer.loss.input_share() < 1
    before = trainer.loss.row_targets(trainer._context)
    trainer.train()
    assert read == [10, 10, 4]
    assert torch.equal(trainer.loss.row_targets(trainer._context), before)
    assert trainer.record().transport_map is not None
    lazy = StudentRows(
        trainer.student_with_loss,
        trainer._preprocessor,
        trainer._reference_rows,
        24,
        trainer.accelerator.autocast,
    )
    assert not torch.equal(lazy.select(torch.arange(24)).features, kept.features)
    ignores = make(teachers=[image_teacher], loss=RowTransportLoss())
    assert ignores._context.student_rows is None


def test_a_student_is_read_at_its_layers_like_a_teacher(config, text_teacher, monkeypatch):
    """Its head may read what says nothing: so does the pooler of a sentence encoder, which was never trained."""
    contexts = []
    set_up = RowTransportLoss.setup
    monkeypatch.setattr(
        RowTransportLoss, "setup", lambda self, context: contexts.append(context) or set_up(self, context)
    )
    student = tiny.text_model()
    torch.nn.init.zeros_(student.bert.pooler.dense.weight)
    trainer = DistillationTrainer(
        student,
        config(max_steps=2),
        teachers=[text_teacher],
        loss=RowTransportLoss(input_features="student"),
        train_dataset=tiny.text_rows().map(
            lambda row, number: {"label": row["label"] if number % 4 else -100}, with_indices=True
        ),
        processing_class=tiny.tokenizer(),
    )
    (context,), rows = contexts, (trainer._context.labels >= 0).nonzero()[:, 0]
    assert 0 < len(rows) < len(context.labels) and trainer._context.student_rows is context.student_rows
    read = context.student_rows.select(rows)
    with torch.no_grad():
        inputs = trainer._preprocessor(trainer._reference_rows.inputs(rows.tolist()))
        direct = FeatureReader(student.eval()).read(inputs, layers=True)
    assert len(read.layers) == len(direct.layers) == 1 + student.config.num_hidden_layers
    for mine, expected in zip((*read.layers, read.features), (*direct.layers, direct.features), strict=True):
        torch.testing.assert_close(mine, expected)
    assert read.features.std(dim=0).max() < 1e-6
    assert trainer.loss.probes.information_gains[-1] > 0.5


def test_a_part_of_a_sum_may_read_the_student(make, image_teacher):
    loss = WeightedSum({RowTransportLoss(input_features="student"): 1.0, ProbeLoss(): 0.1})
    assert make(teachers=[image_teacher], loss=loss).train().global_step == 4


def test_rows_that_change_at_every_step_have_no_untrained_student(make, config, image_teacher):
    loss = RowTransportLoss(input_features="student")
    for changes in (
        {"augmentation": lambda image: image},
        {"args": config(cache_teacher_outputs=False)},
    ):
        with pytest.raises(
            InvalidArgumentError, match="`loss` RowTransportLoss reads the student before it is trained"
        ):
            make(teachers=[image_teacher], loss=loss, **changes)


def test_a_new_student_of_model_init_has_its_own_rows(make):
    seeds = iter((0, 1))
    trainer = make(model=None, model_init=lambda: tiny.image_student(seed=next(seeds)), loss=Reader())
    first = trainer.loss.read.features
    new = trainer.call_model_init()
    assert not torch.equal(new.loss.read.features, first)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_steps": 5},
        {"max_steps": -1, "num_train_epochs": 2},
        {"max_steps": -1, "num_train_epochs": 1.5, "gradient_accumulation_steps": 2},
    ],
)
def test_planned_steps_are_those_taken(make, config, changes):
    trainer = make(config(**changes))
    planned = planned_steps(trainer.args, len(trainer.train_dataset))
    trainer.train()
    assert trainer.state.global_step == planned


def test_planned_steps_count_labelled_rows_that_are_repeated(make, config, image_teacher):
    loss = RelationshipMatchingLoss(0.5, embedding_temperature=0.5)
    args = config(max_steps=-1, num_train_epochs=2)
    trainer = make(args, teachers=[image_teacher], loss=loss, train_dataset=tiny.image_rows(24, unlabelled=18))
    assert len(trainer.train_dataset) == 36
    trainer.train()
    assert trainer._context.steps == trainer.state.global_step
    assert trainer.loss._embedding_steps == trainer.state.global_step / 2


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_phase_of_the_loss_alone_trains_no_head(make, config, image_teacher, wrapped):
    loss = RelationshipMatchingLoss(0.5, embedding_temperature=0.5)
    loss = WeightedSum([(loss, 1.0)]) if wrapped else loss
    trainer = make(config(max_steps=4, weight_decay=0.0), teachers=[image_teacher], loss=loss)
    head = trainer.student.classifier[-1].weight
    changes = []

    class Watch(TrainerCallback):
        def on_step_begin(self, *arguments, **settings):
            changes.append(head.detach().clone())

    trainer.add_callback(Watch())
    trainer.train()
    changes.append(head.detach().clone())
    assert [torch.equal(*pair) for pair in itertools.pairwise(changes)] == [True, True, False, False]


def test_the_default_loss_of_a_pretrained_student_reads_what_the_student_knows(config):
    student = tiny.text_model(2)

    def member(fixed_rows=True, **changes):
        return default_loss(Classification(), student, config(**changes), fixed_rows=fixed_rows).input_features

    assert member() is True, "random weights know nothing"
    norm = next(module for module in student.modules() if isinstance(module, torch.nn.LayerNorm))
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    assert member() == "student"
    assert member(fixed_rows=False) is True and member(cache_teacher_outputs=False) is True, "it is read once"


@pytest.mark.parametrize("gain", [0.0, 2.0])
def test_a_student_whose_teachers_know_no_more_learns_from_itself(
    make, config, image_teacher, monkeypatch, logged, gain
):
    gains = property(lambda probes: torch.tensor([gain]))
    monkeypatch.setattr(ProbeEnsemble, "teacher_information_gains", gains)
    loss = RowTransportLoss(input_features="student")
    trainer = make(config(max_steps=2), teachers=[image_teacher], loss=loss)
    assert (gain > float(trainer.loss.probes.information_gains[-1])) == (gain > 0)
    trainer.train()
    assert any("row_transport" in entry for entry in trainer.state.log_history)
    itself = "so that the student learns from its own for the most part."
    assert (itself in logged.text) == (gain == 0) == (itself in " ".join(trainer.record().loss.remarks))


def test_unlabelled_rows_teach_a_pretrained_student_what_its_own_layers_tell(config, text_teacher):
    """The teacher is blind: what the targets tell of rows without a label comes from the student's layers."""
    rows = tiny.text_rows(80)
    few = rows.map(lambda row, number: {"label": row["label"] if number < 8 else -100}, with_indices=True)
    student = tiny.text_model()
    torch.nn.init.zeros_(student.bert.pooler.dense.weight)
    blind = Teacher.load(candidate_named(text_teacher), "text")
    for weights in blind.model.parameters():
        torch.nn.init.zeros_(weights)
    trainer = DistillationTrainer(
        student,
        config(max_steps=2),
        teachers=[blind],
        loss=RowTransportLoss(input_features="student"),
        train_dataset=few,
        processing_class=tiny.tokenizer(),
    )
    assert trainer.loss.input_share() > 0.99 and trainer.loss.strength() > 0.1
    targets = trainer.loss.class_probabilities(trainer.loss.row_targets(trainer._context))
    expected = torch.tensor(rows["label"][:])
    assert (targets.argmax(dim=1) == expected)[8:].float().mean() > 0.8


def pretrained(student):
    """The student with scales of norms that training has moved apart."""
    for module in student.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.LayerNorm):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    return student


def test_a_pretrained_student_is_warned_of_the_raw_input_alone(make, config, image_teacher, logged):
    make(model=pretrained(tiny.image_student()), teachers=[image_teacher])
    make(teachers=[image_teacher], loss=RowTransportLoss())
    assert "raw input" not in logged.text, "its own features by default; a student with random weights knows nothing"
    for settings in ({"loss": RowTransportLoss()}, {"augmentation": lambda image: image}):
        logged.clear()
        trainer = make(model=pretrained(tiny.image_student()), teachers=[image_teacher], **settings)
        assert trainer.loss.input_features is True
        assert "row_transport also learns from the raw input of the rows, which is meant for students with random" in (
            logged.text
        )


def test_a_student_that_learns_from_no_teacher_trains_as_long_as_one_without(make, config, image_teacher, logged):
    rows, open_schedule = tiny.image_rows(240, unlabelled=216), {"max_steps": -1, "learning_rate": None}
    taught = make(
        config(**open_schedule),
        model=pretrained(tiny.image_student()),
        teachers=[image_teacher],
        loss=Untaught(),
        train_dataset=rows,
    )
    plain = make(config(**open_schedule), model=pretrained(tiny.image_student()), train_dataset=rows)
    assert len(taught.train_dataset) == len(plain.train_dataset) == 24
    for name in ("num_train_epochs", "learning_rate"):
        assert getattr(taught.args, name) == getattr(plain.args, name)
    unused = "The teachers know nothing that probe can use"
    assert f"{unused}: the student trains on its 24 labelled rows alone" in logged.text
    (remark,) = taught.record().loss.remarks
    name = taught.teacher_runner.teachers[0].candidate.name
    assert remark == f"{unused}. So the model was trained on the labels alone, and not by {name}."
    assert plain.record().loss.remarks == ()


def test_that_teachers_are_left_out_is_said_where_all_rows_have_a_label_too(make, image_teacher, logged):
    trainer = make(teachers=[image_teacher], loss=Untaught())
    assert not trainer._distils and "that probe can use: the student trains on the labels alone." in logged.text


class Untaught(ProbeLoss):
    """Of teachers that know nothing."""

    def strength(self):
        return 0.0
