"""A training that got nowhere says so: in the log, and on the card."""

import logging

import pytest
import tiny
import torch

from hf_ctkd.cards import render_card
from hf_ctkd.records import Confidence
from hf_ctkd.training.outcome import LossTrace, warn_of_chance, warn_of_loss


@pytest.fixture
def said(caplog):
    logging.getLogger("transformers").propagate = True
    yield caplog
    logging.getLogger("transformers").propagate = False


def trace(losses, batches=1):
    made = LossTrace()
    for loss in losses:
        for batch in range(batches):
            made.add(torch.tensor(loss / batches), last_batch=batch == batches - 1)
    return made


@pytest.mark.parametrize(
    ("losses", "fell", "rose"),
    [
        ([2.3 - 0.02 * step for step in range(100)], True, False),
        ([2.32 - 0.0006 * step for step in range(39)], False, False),  # digits at 5e-5 and three epochs
        ([2.3 + 0.3 * (-1) ** step for step in range(100)], False, False),
        ([2.3 + 0.02 * step for step in range(100)], False, True),
        ([2.3] * 50 + [float("nan")] * 50, False, True),
        ([-1.0 - 0.1 * step for step in range(40)], True, False),
    ],
)
@pytest.mark.parametrize("batches", [1, 3])
def test_whether_the_loss_left_its_starting_value(losses, fell, rose, batches):
    ends = trace(losses, batches).ends()
    assert (ends.fell, ends.rose, ends.steps) == (fell, rose, len(losses))


def test_the_loss_of_one_phase_does_not_compare_with_that_of_the_next():
    made = trace([])
    for step in range(60):
        first = step < 20
        made.add(torch.tensor(0.1 if first else 2.0 - 0.02 * step), last_batch=True, phase=0.0 if first else 1.0)
    ends = made.ends()
    assert (ends.fell, ends.rose, ends.steps) == (True, False, 40)


def test_one_step_has_no_two_ends():
    assert trace([1.0]).ends() is None


def test_the_flag_to_change_is_named(said):
    warn_of_loss(trace([2.0] * 40).ends(), 5e-5)
    warn_of_loss(trace([2.0 + 0.1 * step for step in range(40)]).ends(), 0.5)
    warn_of_loss(trace([2.0 - 0.02 * step for step in range(40)]).ends(), 1e-3)
    warn_of_loss(None, 1e-3)
    stuck, rose = (record.message for record in said.records)
    assert (
        "from 2 to 2 in 40 steps. Raise `num_train_epochs` or `max_steps`, or `learning_rate`, which is 5e-05" in stuck
    )
    assert "rose" in rose and "Lower `learning_rate`, which is 0.5." in rose


def test_chance_is_named(said):
    warn_of_chance({"accuracy": Confidence(0.5, 0.45, 0.55)}, 0.4)
    warn_of_chance({"mae": Confidence(0.5)}, None)
    assert not said.records
    warn_of_chance({"accuracy": Confidence(0.5, 0.35, 0.65)}, 0.4)
    assert "0.5, is not measurably above chance" in said.records[0].message


def test_a_student_that_did_not_learn_warns_and_its_card_says_so(make, config, said):
    trainer = make(args=config(max_steps=8, learning_rate=1e-9), eval_dataset=tiny.image_rows(3, seed=5))
    trainer.train()
    assert "hardly left its starting value" in said.text
    trainer.evaluate()
    assert "not measurably above chance" in said.text
    assert "The training loss did not fall: it went from" in render_card(trainer.record("run"))


def test_a_student_that_learned_does_not_warn(make, config, said):
    trainer = make(args=config(max_steps=40))
    trainer.train()
    trainer.evaluate()
    assert not [record for record in said.records if "loss" in record.message or "chance" in record.message]
    card = render_card(trainer.record("run"))
    assert "did not fall" not in card and tiny.NAMES[0] in card
