"""What a loss is set up with, beside the teachers: outputs of the untrained student."""

import tiny
import torch

from hf_ctkd.losses import BSSLoss, BTuningLoss


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


def test_a_new_student_of_model_init_has_its_own_rows(make):
    seeds = iter((0, 1))
    trainer = make(model=None, model_init=lambda: tiny.image_student(seed=next(seeds)), loss=Reader())
    first = trainer.loss.read.features
    new = trainer.call_model_init()
    assert not torch.equal(new.loss.read.features, first)
