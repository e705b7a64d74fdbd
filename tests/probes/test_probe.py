import math

import pytest
import torch

from hf_ctkd.errors import DatasetError, InvalidArgumentError
from hf_ctkd.probes import LinearProbe
from hf_ctkd.probes import probe as probe_module
from hf_ctkd.types import LabelSpace


def _rows(rows, *, separation, classes=5, width=20, seed=0):
    centres = separation * torch.randn(classes, width, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(rows) % classes
    return centres[labels] + torch.randn(rows, width, generator=torch.Generator().manual_seed(seed)), labels


@pytest.mark.parametrize("separation", [0.0, 0.3, 0.6, 1.5])
def test_gain_is_what_new_rows_confirm(separation):
    features, labels = _rows(150, separation=separation)
    fitted = LinearProbe().fit(features, labels, 5)
    unseen, truth = _rows(5000, separation=separation, seed=1)
    log_posterior = fitted.log_posterior(unseen)
    test_gain = 1 + float(log_posterior[torch.arange(5000), truth].mean()) / torch.tensor(5.0).log().item()
    # Standard error of the gain from 150 rows is about 0.03.
    assert fitted.information_gain == pytest.approx(test_gain, abs=0.1)


def test_features_that_say_nothing_gain_nothing():
    gains = []
    for seed in range(8):
        features, labels = _rows(50, separation=0.0, seed=seed)
        fitted = LinearProbe().fit(features, labels, 5)
        gains.append(fitted.information_gain)
        assert fitted.relatedness == max(fitted.information_gain, 0.0)
    assert abs(sum(gains) / 8) < 0.02 and min(gains) < 0


def test_rows_that_stand_there_twice_give_nothing_away():
    gains = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        features, labels = torch.randn(100, 256, generator=generator), torch.randint(0, 4, (100,), generator=generator)
        gains.append(LinearProbe().fit(features.repeat(2, 1), labels.repeat(2), 4).information_gain)
    # Dealt apart, the copies of pure noise gain 0.9 and more.
    assert abs(sum(gains) / 4) < 0.05


def test_a_class_whose_rows_are_all_equal_is_served():
    features, labels = _rows(40, separation=1.0)
    features[labels == 0] = features[0].clone()
    fitted = LinearProbe().fit(features, labels, 5)
    assert fitted.information_gain > 0.5
    assert float(fitted.crossfit_posterior[labels == 0, 0].min()) > 0.5


def test_solution_is_a_stationary_point_of_the_penalised_likelihood():
    features, labels = _rows(60, separation=0.5)
    fitted = LinearProbe(strengths=(0.1,)).fit(features, labels, 5)
    inputs = ((features - fitted.mean) / fitted.scale).double()
    weight = fitted.weight.double().requires_grad_()
    log_posterior = (fitted.log_prior + inputs @ weight + fitted.bias).log_softmax(dim=1)
    loss = 0.05 * weight.square().sum() - log_posterior[torch.arange(60), labels].sum()
    (gradient,) = torch.autograd.grad(loss, weight)
    (start,) = torch.autograd.grad(
        -(inputs @ weight + fitted.log_prior).log_softmax(1)[range(60), labels].sum(), weight
    )
    assert float(gradient.norm()) < 0.01 * float(start.norm())


def test_row_order_names_and_scale_change_nothing():
    features, labels = _rows(60, separation=0.5)
    fitted = LinearProbe().fit(features, labels, 5)
    shuffle = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    rename = torch.tensor([3, 1, 4, 0, 2])
    other = LinearProbe().fit(7 * features[shuffle] + 3, rename[labels[shuffle]], 5)
    assert other.information_gain == pytest.approx(fitted.information_gain, abs=1e-3)
    assert torch.allclose(other.crossfit_posterior[:, rename], fitted.crossfit_posterior[shuffle], atol=5e-3)
    assert torch.allclose(other.posterior(7 * features + 3)[:, rename], fitted.posterior(features), atol=5e-3)


def test_unlabelled_rows_change_nothing_and_absent_classes_stay_possible():
    features, labels = _rows(60, separation=1.0)
    fitted = LinearProbe().fit(features, labels, 7)
    padded = LinearProbe().fit(
        torch.cat([features, 50 * torch.ones(5, 20)]), torch.cat([labels, torch.full((5,), -100)]), 7
    )
    assert torch.equal(padded.weight, fitted.weight) and padded.crossfit_posterior.shape == (60, 7)
    posterior = fitted.posterior(features)
    assert bool(torch.isfinite(posterior).all()) and float(posterior.min()) > 0
    assert float(posterior[:, 5:].max()) < 0.1


def test_crossfit_posterior_is_less_sure_than_the_fit_on_the_same_rows():
    features, labels = _rows(40, separation=0.4)
    fitted = LinearProbe().fit(features, labels, 5)
    own = fitted.posterior(features)[torch.arange(40), labels].log().mean()
    held = fitted.crossfit_posterior[torch.arange(40), labels].log().mean()
    assert float(held) < float(own) - 0.1


def test_constant_features_and_half_precision_are_served():
    features, labels = _rows(40, separation=1.0)
    constant = LinearProbe().fit(torch.ones(40, 3), labels, 5)
    assert constant.information_gain == pytest.approx(0.0, abs=0.05)
    assert torch.allclose(constant.posterior(torch.ones(2, 3)), torch.full((2, 5), 0.2), atol=0.02)
    half = LinearProbe().fit(features.bfloat16(), labels, 5)
    assert half.information_gain > 0.5 and bool(torch.isfinite(half.posterior(features.bfloat16())).all())


def test_cross_fitting_alone_judges_as_the_fit_does():
    features, labels = _rows(60, separation=0.5)
    fitted, judged = LinearProbe().fit(features, labels, 5), LinearProbe().cross_fit(features, labels, 5)
    assert judged.information_gain == fitted.information_gain and judged.strength == fitted.strength
    assert torch.equal(judged.posterior, fitted.crossfit_posterior)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_a_fit_changes_nothing(monkeypatch, dtype):
    monkeypatch.setattr("hf_ctkd.probes.solver._LARGE", 1)
    features, labels = _rows(60, separation=0.5)
    plain = LinearProbe().fit(features, labels, 5)
    with torch.autocast("cpu", dtype):
        inside = LinearProbe().fit(features, labels, 5)
    assert inside.information_gain == plain.information_gain and torch.equal(inside.weight, plain.weight)


def test_two_rows_a_class_are_enough():
    features, labels = _rows(4, separation=3.0, classes=2)
    fitted = LinearProbe().fit(features, labels, 2)
    assert torch.isfinite(fitted.crossfit_posterior).all()


def test_the_largest_axes_alone_are_read():
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(4).repeat(30)
    centres, spectrum = torch.randn(4, 12, generator=generator), torch.arange(1, 13).float() ** -1
    features = (centres[labels] + 0.5 * torch.randn(120, 12, generator=generator)) * spectrum
    whole, most = (LinearProbe().cross_fit(features, labels, 4, max_axes=axes) for axes in (None, 5))
    signs = (most.basis.axes * whole.basis.axes[:, -5:]).sum(dim=0).sign()
    assert torch.allclose(most.basis.rows * signs, whole.basis.rows[:, -5:], atol=1e-5)
    assert most.basis.axes.shape == (12, 5)
    assert most.basis.rows.square().sum() > whole.basis.rows[:, :7].square().sum(), "those of the largest variance"
    assert most.information_gain != whole.information_gain
    every = LinearProbe().cross_fit(features, labels, 4, max_axes=12)
    assert torch.equal(every.posterior, whole.posterior) and every.information_gain == whole.information_gain


def test_bad_input_is_named():
    features, labels = _rows(10, separation=1.0)
    with pytest.raises(DatasetError, match="Class 1 has a single labelled row.*Label another row"):
        LinearProbe().fit(features[:3], torch.tensor([0, 0, 1]), 2)
    with pytest.raises(DatasetError, match="Class 'dog' has a single"):
        LinearProbe().fit(features[:3], torch.tensor([0, 0, 1]), 2, target=LabelSpace(("cat", "dog")))
    with pytest.raises(DatasetError, match="of one class, but two are needed"):
        LinearProbe().fit(features, torch.zeros(10, dtype=torch.long), 2)
    with pytest.raises(InvalidArgumentError, match="`features` must be finite, but row 4"):
        LinearProbe().fit(features.index_fill(0, torch.tensor([4]), float("nan")), labels, 5)
    for strengths in ((), (0.1, 0.0), (math.nan,), (0.1, math.nan)):
        with pytest.raises(InvalidArgumentError, match="`strengths` must hold positive"):
            LinearProbe(strengths=strengths)
    with pytest.raises(InvalidArgumentError, match="`folds` must be at least 2"):
        LinearProbe(folds=1)


@pytest.mark.parametrize(("separation", "classes", "tried"), [(0.0, 5, 2), (1.5, 50, 3), (4.0, 5, 2)])
def test_no_weaker_strength_is_tried_once_one_hardly_does_better(monkeypatch, separation, classes, tried):
    fits = []
    plain = probe_module.fit_paths

    def counted(*arguments, **settings):
        for weights in plain(*arguments, **settings):
            fits.append(weights)
            yield weights

    monkeypatch.setattr(probe_module, "fit_paths", counted)
    features, labels = _rows(150, separation=separation, classes=classes)
    judged = LinearProbe().cross_fit(features, labels, classes)
    assert len(fits) == tried
    monkeypatch.setattr(probe_module, "_LEAST_RISE", -math.inf)
    of_all = LinearProbe().cross_fit(features, labels, classes)
    assert len(fits) == tried + 3
    assert judged.information_gain == pytest.approx(of_all.information_gain, abs=1e-3)
