import doctest

import pytest

from hf_ctkd import losses
from hf_ctkd.cli import methods
from hf_ctkd.cli.methods import build_loss, loss_names
from hf_ctkd.costs import PrototypeCost
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import ProbeLoss, RowTransportLoss
from hf_ctkd.probes import LinearProbe


class OwnLoss(ProbeLoss):
    """A third party's."""


def test_examples_in_docstrings():
    assert doctest.testmod(methods).failed == 0


def test_every_exported_loss_has_a_name_here():
    names = {vars(losses)[name].name for name in losses.__all__ if "name" in vars(vars(losses)[name])}
    assert {"row_transport", "label_transport", "probe"} <= names == set(loss_names())


@pytest.mark.parametrize("name", sorted(set(loss_names()) - {"weighted_sum"}))
def test_every_loss_can_be_made_by_its_name(name):
    assert build_loss(name).name == name


def test_a_loss_made_of_losses():
    settings = '{"losses": [[{"name": "probe"}, 1.0], [{"name": "row_transport", "epsilon": 0.5}, 0.3]]}'
    loss = build_loss("weighted_sum", settings)
    assert [type(one) for one in loss.parts] == [ProbeLoss, RowTransportLoss]
    assert loss.parts[1].epsilon == 0.5
    with pytest.raises(InvalidArgumentError, match="does not fit weighted_sum: missing .* It takes losses"):
        build_loss("weighted_sum")


def test_settings_reach_the_constructor():
    assert isinstance(build_loss("row_transport"), RowTransportLoss)
    loss = build_loss("label_transport", '{"cost": {"name": "prototype"}, "gain_exponent": 0.0}')
    assert isinstance(loss.cost, PrototypeCost) and loss.gain_exponent == 0
    loss = build_loss("row_transport", '{"probe": {"name": "linear_probe", "folds": 3}}')
    assert loss.probe == LinearProbe(folds=3)


def test_a_class_of_somebody_else():
    assert type(build_loss("hf_ctkd.losses.probe:ProbeLoss", '{"temperature": 2.0}')) is ProbeLoss


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        ("row_transprot", None, "`--loss` 'row_transprot' is unknown: choose one of .*row_transport"),
        ("no.such.module:Loss", None, "'no.such.module:Loss' cannot be imported: No module named 'no'"),
        (
            "hf_ctkd.losses:Missing",
            None,
            "'hf_ctkd.losses:Missing' cannot be imported: module 'hf_ctkd.losses' has no attribute 'Missing'",
        ),
        ("hf_ctkd.probes:LinearProbe", None, "is no DistillationLoss. Derive it"),
        ("row_transport", "epsilon=1", "`--loss_settings` is not valid JSON"),
        ("row_transport", "[1]", "must be a JSON object"),
        ("row_transport", '{"epsilom": 1}', "does not fit row_transport: .*'epsilom'.* It takes probe, epsilon"),
        ("row_transport", '{"cost": {"name": "empirical"}}', "does not fit row_transport: .*'cost'"),
        ("label_transport", '{"refit_rounds": 1}', "does not fit label_transport: .*'refit_rounds'"),
        (
            "row_transport",
            '{"epsilon": "x"}',
            "row_transport: 'epsilon' must be float, got .x.. It takes",
        ),
        ("row_transport", '{"epsilon": true}', "'epsilon' must be float, got true"),
        ("row_transport", '{"probe": {"folds": 3}}', "'probe' must be LinearProbe, got {\"folds\": 3}"),
        ("row_transport", '{"probe": {"name": ["x"]}}', "`--loss_settings` .*'x'.* is unknown"),
        ("projection", '{"layers": [[1]]}', "'layers' must be .*, got ..1.."),
        ("projection", '{"layers": "ab"}', "'layers' must be .*, got \"ab\""),
        ("weighted_sum", '{"losses": [1]}', "'losses' must be .*, got .1."),
        ("row_transport", '{"epsilon": -1.0}', "`epsilon` must be positive and finite, got -1"),
        ("label_transport", '{"cost": {"name": "cheap"}}', "`--loss_settings` 'cheap' is unknown"),
    ],
)
def test_what_cannot_be_built(name, settings, said):
    with pytest.raises(InvalidArgumentError, match=said):
        build_loss(name, settings)
