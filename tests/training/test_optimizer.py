"""Learning rates that a loss sets for its own parameters."""

import torch

from hf_ctkd.losses import AFTLoss, InvertedProjectionLoss, WeightedSum


def rates(trainer):
    """Learning rate and weight decay of every parameter by its name."""
    trainer.create_optimizer_and_scheduler(4)
    names = {id(parameter): name for name, parameter in trainer.model.named_parameters()}
    return {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in trainer.optimizer.param_groups
        for parameter in group["params"]
    }


def test_a_loss_sets_the_learning_rate_of_its_own_parameters(make, config, image_teacher):
    args = config(learning_rate=0.5, weight_decay=0.1)
    trainer = make(args, teachers=[image_teacher], loss=AFTLoss(learning_rate=0.25))
    by_name = rates(trainer)
    assert by_name.keys() == dict(trainer.model.named_parameters()).keys()
    assert {rate for name, rate in by_name.items() if name.startswith("loss.")} == {(0.25, 0.0)}
    assert {rate for name, (rate, _) in by_name.items() if name.startswith("student.")} == {0.5}


def test_also_within_a_sum_and_scaled_by_the_schedule(make, config, image_teacher):
    loss = WeightedSum([(AFTLoss(learning_rate=0.25), 1.0), (InvertedProjectionLoss(), 1.0)])
    trainer = make(config(learning_rate=0.5), teachers=[image_teacher], loss=loss)
    by_name = rates(trainer)
    assert {rate for name, (rate, _) in by_name.items() if "raw_scales" in name} == {0.25}
    assert {rate for name, (rate, _) in by_name.items() if "heads" in name} == {0.5}
    trainer.optimizer.step()
    trainer.lr_scheduler.step()
    assert {group["lr"] for group in trainer.optimizer.param_groups} == {0.75 * 0.25, 0.75 * 0.5}


def test_an_optimizer_of_the_user_is_left_as_it_is(make, config, image_teacher):
    trainer = make(teachers=[image_teacher], loss=AFTLoss())
    trainer.optimizer = torch.optim.SGD(trainer.model.parameters(), lr=0.5)
    assert {rate for rate, _ in rates(trainer).values()} == {0.5}
