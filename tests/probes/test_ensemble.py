from dataclasses import replace

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.losses import LossContext
from hf_ctkd.probes import LinearProbe, information_gain_of, log_mean
from hf_ctkd.probes.ensemble import ProbeEnsemble
from hf_ctkd.probes.labelled import fitting_rows
from hf_ctkd.records import Proportion
from hf_ctkd.testing import LossCase, OutputsInParts
from hf_ctkd.types import UNLABELLED, LabelSpace, ModelOutputs


def test_posterior_of_a_committee_is_the_log_mean_by_powers_of_the_gain():
    case = LossCase.of(teachers=3)
    probes = ProbeEnsemble(LinearProbe(), gain_exponent=2.0)
    probes.fit(case.context)
    fitted = [LinearProbe().fit(one.features, case.context.labels, 4) for one in case.context.teachers]
    gains = torch.tensor([one.relatedness for one in fitted])
    shares = gains**2 / (gains**2).sum()
    mixed = sum(
        share * one.log_posterior(outputs.features)
        for share, one, outputs in zip(shares, fitted, case.teachers, strict=True)
    )
    assert torch.allclose(probes.log_posterior(None, case.teachers), mixed.log_softmax(1), atol=1e-5)
    assert torch.equal(probes.teacher_information_gains, probes.information_gains)
    labels = case.context.labels[case.context.labels != UNLABELLED]
    held_out = log_mean(shares, [one.crossfit_posterior.log() for one in fitted])
    assert float(probes.information_gain) == pytest.approx(
        information_gain_of(held_out, labels, fitted[0].prior_log_likelihood)
    )


def test_committee_of_teachers_that_say_nothing_has_no_weight():
    case = LossCase.of()
    generator = torch.Generator().manual_seed(1)
    blind = tuple(ModelOutputs(torch.randn(len(one), 4, generator=generator)) for one in case.context.teachers)
    probes = ProbeEnsemble(LinearProbe())
    probes.fit(replace(case.context, teachers=blind))
    assert float(probes.information_gain) < 0.1
    assert torch.isfinite(probes.log_posterior(None, blind)).all()


def test_accuracies_are_those_on_rows_that_the_probes_did_not_see():
    truth = torch.arange(60) % 3
    labels = torch.where(torch.arange(60) < 4, (truth + 1) % 3, truth)  # four wrong labels
    labels[50:] = UNLABELLED
    noise = torch.randn(60, 200, generator=torch.Generator().manual_seed(0))  # wide enough to know every row by heart
    context = replace(
        LossCase.of().context,
        labels=labels,
        label_space=LabelSpace(("a", "b", "c")),
        teachers=(ModelOutputs(5 * torch.eye(3)[truth] + 0.1 * noise[:, :3]), ModelOutputs(noise)),
        inputs=ModelOutputs(torch.zeros(60, 2)),
        targets=None,
    )
    probes = ProbeEnsemble(LinearProbe(), input_features=True)
    assert probes.teacher_accuracies == ()
    probes.fit(context)
    clean, blind = probes.teacher_accuracies
    assert clean == Proportion(46, 50)
    assert blind.rows == 50 and blind.right < 30
    assert len(probes.accuracies) == 3, "the input features last"


def test_a_second_fit_takes_the_place_of_the_first():
    case = LossCase.of(teachers=2)
    probes, once = ProbeEnsemble(LinearProbe()), ProbeEnsemble(LinearProbe())
    probes.fit(replace(case.context, teachers=case.context.teachers[:1]))
    probes.fit(case.context)
    once.fit(case.context)
    assert torch.equal(probes.log_posteriors(case.context), once.log_posteriors(case.context))


def test_progress_counts_the_models_whose_probes_are_fitted(monkeypatch, capfd):
    monkeypatch.setattr("hf_ctkd.data.progress._SHORT_SECONDS", 0.0)
    case = LossCase.of()
    ProbeEnsemble(LinearProbe()).fit(case.context)
    said = capfd.readouterr().err
    assert "probes: " in said and f"/{len(case.context.teachers)} [" in said and "model/s]" in said


def test_the_input_is_a_member_like_any_other():
    case = LossCase.of(teachers=1)
    shown = case.context.inputs
    with_input, as_teacher = ProbeEnsemble(LinearProbe(), input_features=True), ProbeEnsemble(LinearProbe())
    with_input.fit(case.context)
    as_teacher.fit(replace(case.context, teachers=(*case.context.teachers, shown)))
    assert torch.equal(with_input.information_gains, as_teacher.information_gains) and torch.equal(
        with_input.information_gain, as_teacher.information_gain
    )
    assert torch.equal(
        with_input.log_posterior(case.context.inputs.features, case.context.teachers),
        as_teacher.log_posterior(None, (*case.context.teachers, shown)),
    )
    assert len(with_input.teacher_information_gains) == 1
    assert with_input.input_share == float(as_teacher.shares[1]) > 0
    assert as_teacher.input_share == 0


def test_an_input_that_is_to_be_read_must_be_given():
    case = LossCase.of()
    with pytest.raises(
        InvalidArgumentError, match="`inputs` must be given to a loss with `input_features=True`, got None"
    ):
        ProbeEnsemble(LinearProbe(), input_features=True).fit(replace(case.context, inputs=None))


def test_the_student_is_a_member_like_any_other_in_place_of_its_input():
    case = LossCase.of(teachers=1)
    shown = case.context.inputs.features
    student = ModelOutputs(shown.flip(1) + 1.0, layers=(shown, shown - 2.0))
    context = replace(case.context, student_rows=student)
    with_student, as_teacher = ProbeEnsemble(LinearProbe(), input_features="student"), ProbeEnsemble(LinearProbe())
    with_student.fit(context)
    as_teacher.fit(replace(context, teachers=(*context.teachers, student)))
    assert torch.equal(with_student.information_gains, as_teacher.information_gains)
    together = replace(context, teachers=(*context.teachers, student))
    assert torch.equal(with_student.log_posteriors(context), as_teacher.log_posteriors(together))
    targets = with_student.log_posteriors(context).softmax(dim=1)
    rows = torch.arange(len(targets))
    with_student.refit(context, rows, targets)
    as_teacher.refit(together, rows, targets)
    assert torch.equal(with_student.log_posteriors(context), as_teacher.log_posteriors(together))
    assert len(with_student.teacher_information_gains) == 1
    with pytest.raises(InvalidArgumentError, match="`input_features='student'` reads the untrained student, which is"):
        with_student.log_posterior(case.context.inputs.features, case.context.teachers)
    with pytest.raises(InvalidArgumentError, match="`student_rows` must hold the untrained student's outputs for"):
        with_student.log_posteriors(replace(context, student_rows=None))
    with pytest.raises(InvalidArgumentError, match="`student_rows` must hold the untrained student's outputs for"):
        ProbeEnsemble(LinearProbe(), input_features="student").fit(replace(context, student_rows=None))


def test_probes_learn_from_unlabelled_rows_too():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(600) % 4
    centres = torch.randn(4, 30, generator=generator)
    features = centres[truth] + 1.5 * torch.randn(600, 30, generator=generator)
    labels = torch.where(torch.arange(600) < 24, truth, UNLABELLED)
    outputs = ModelOutputs(features)
    context = LossContext(labels, LabelSpace(("a", "b", "c", "d")), outputs, (outputs,))
    probes = ProbeEnsemble(LinearProbe())
    probes.fit(context)

    def accuracy():
        return float((probes.log_posterior(None, (outputs,)).argmax(1) == truth).float().mean())

    before, gain = accuracy(), probes.information_gains.clone()
    for _ in range(2):
        said = probes.log_posterior(None, (outputs,))
        probes.refit(context, torch.arange(600), (said / 0.25).softmax(1))
    assert accuracy() > before + 0.005
    assert torch.equal(probes.information_gains, gain)
    probes.refit(context, torch.arange(600), torch.nn.functional.one_hot(truth, 4).float())
    assert accuracy() > before + 0.02


def test_a_layer_that_knows_makes_up_for_features_that_do_not():
    case = LossCase.of(teachers=1)
    knowing = case.context.teachers[0]
    blind = replace(knowing, features=torch.randn(len(knowing), 4, generator=torch.Generator().manual_seed(1)))
    gains = []
    for outputs in (blind, replace(blind, layers=(knowing.features,)), knowing):
        probes = ProbeEnsemble(LinearProbe())
        probes.fit(replace(case.context, teachers=(outputs,)))
        gains.append(float(probes.information_gains))
    assert gains[0] < 0.1
    assert gains[1] == pytest.approx(gains[2], abs=0.03)


def test_layers_are_mixed_by_powers_of_their_gain():
    case = LossCase.of(teachers=2)
    first, second = case.context.teachers
    probes = ProbeEnsemble(LinearProbe(), gain_exponent=2.0)
    probes.fit(replace(case.context, teachers=(replace(first, layers=(second.features,)),)))
    fitted = [LinearProbe().fit(one.features, case.context.labels, 4) for one in (second, first)]
    shares = torch.tensor([one.information_gain for one in fitted]) ** 2
    mixed = sum(
        share * one.log_posterior(outputs.features)
        for share, one, outputs in zip(shares / shares.sum(), fitted, (second, first), strict=True)
    )
    found = probes.log_posterior(None, (replace(first, layers=(second.features,)),))
    assert torch.allclose(found, mixed.log_softmax(1), atol=1e-5)


@pytest.mark.parametrize("input_features", [True, False])
def test_a_row_is_read_by_those_that_were_asked_and_by_its_input(input_features):
    case = LossCase.of(teachers=3)
    inputs = case.context.inputs.features[:48] if input_features else None
    probes = ProbeEnsemble(LinearProbe(), input_features=input_features)
    probes.fit(case.context)
    everywhere = torch.ones(48, 3, dtype=torch.bool)
    torch.testing.assert_close(
        probes.log_posterior(inputs, case.teachers, everywhere), probes.log_posterior(inputs, case.teachers)
    )
    alone = ProbeEnsemble(LinearProbe(), input_features=input_features)
    alone.fit(replace(case.context, teachers=case.context.teachers[1:2]))
    chosen = torch.zeros(48, 3, dtype=torch.bool)
    chosen[:, 1] = True
    nobody = torch.arange(0)
    teachers = (case.teachers[0].select(nobody), case.teachers[1], case.teachers[2].select(nobody))
    torch.testing.assert_close(
        probes.log_posterior(inputs, teachers, chosen), alone.log_posterior(inputs, case.teachers[1:2])
    )


def test_all_rows_in_chunks_have_the_posterior_of_a_batch(monkeypatch):
    case = LossCase.of(teachers=2)
    probes = ProbeEnsemble(LinearProbe(), input_features=True)
    probes.fit(case.context)
    monkeypatch.setattr("hf_ctkd.probes.ensemble.CHUNK_ROWS", 40)
    torch.testing.assert_close(
        probes.log_posteriors(case.context), probes.log_posterior(case.context.inputs.features, case.context.teachers)
    )


def test_teachers_are_read_in_parts_that_do_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("hf_ctkd.probes.ensemble.CHUNK_ROWS", 50)
    monkeypatch.setattr("hf_ctkd.probes.labelled.MAX_FITTING_ROWS", 120)
    parts = {}
    for rows in (400, 4000):
        case = LossCase.of(teachers=2, rows=rows)
        teachers = tuple(OutputsInParts(teacher) for teacher in case.context.teachers)
        context = replace(case.context, teachers=teachers)
        probes = ProbeEnsemble(LinearProbe(), input_features=True)
        probes.fit(context)
        fitted = fitting_rows(context.labels, context.seed, unlabelled=True)
        probes.refit(context, fitted, probes.log_posteriors(context)[fitted].exp())
        parts[rows] = [teacher.most_rows for teacher in teachers]
    assert parts == {400: [120, 120], 4000: [120, 120]}


def test_a_teacher_of_other_rows_is_refused():
    case = LossCase.of(teachers=2)
    teachers = (case.context.teachers[0], case.teachers[1])
    with pytest.raises(InvalidArgumentError, match="got 96 labels for 48 rows of teacher 1"):
        ProbeEnsemble(LinearProbe()).fit(replace(case.context, teachers=teachers))
