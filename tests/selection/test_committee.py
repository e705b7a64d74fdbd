from dataclasses import replace

import pytest
import torch

from hf_ctkd.errors import InvalidArgumentError, NoTeacherLeftError, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.selection import Committee, TeacherSelector
from hf_ctkd.selection.committee import TeacherPosterior, choose_members
from hf_ctkd.teachers import Teacher
from hf_ctkd.types import ModelOutputs

CLASSES = 4
LABELS = torch.arange(CLASSES).repeat(40)


def teacher(values, *, noise=0.6, seed=0):
    """Features in which classes of the same value are told apart from the others, and not from each other."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.eye(CLASSES)[torch.tensor(values)[LABELS]]
    return ModelOutputs(centres + noise * torch.randn(centres.shape, generator=generator))


@pytest.fixture(scope="module")
def redundant():
    """Two good teachers that know the same, and a poorer one that knows what both do not."""
    return [
        TeacherPosterior.fit(outputs, LABELS)
        for outputs in (
            teacher([0, 1, 2, 2], noise=0.15, seed=1),
            teacher([0, 1, 2, 2], noise=0.15, seed=2),
            teacher([0, 0, 1, 2], noise=0.3, seed=3),
            teacher([0, 0, 0, 0], seed=4),
        )
    ]


def test_the_second_member_is_not_the_second_best_but_the_one_that_complements_the_first(redundant):
    gains = [teacher.information_gain for teacher in redundant]
    assert gains[1] > gains[2] and gains[0] > gains[2], "the complementary teacher must be the poorer one"
    members, reached = choose_members(redundant, LABELS, 2)
    assert set(members) & {0, 1} and 2 in members
    assert members[0] == max(range(4), key=lambda index: gains[index])
    assert reached[0] == pytest.approx(max(gains), abs=1e-4) and reached[1] > reached[0] + 0.1


def test_a_candidate_that_improves_nothing_is_not_added(redundant):
    members, gains = choose_members([redundant[0], redundant[3]], LABELS, 2)
    assert members == (0,) and len(gains) == 1
    members, gains = choose_members(redundant, LABELS, 10)
    assert 3 not in members
    assert list(gains) == sorted(gains)


def test_a_copy_of_a_member_adds_nothing(redundant):
    assert choose_members([redundant[0], redundant[0]], LABELS, 2)[0] == (0,)


def test_one_member_is_the_best_alone(redundant):
    assert choose_members(redundant, LABELS, 1)[0] == (
        max(range(4), key=lambda index: redundant[index].information_gain),
    )


def lacking(posterior, rows):
    """A posterior whose teacher has no finite outputs for some rows."""
    finite = posterior.finite.clone()
    finite[rows] = False
    return replace(
        posterior, finite=finite, log_posterior=posterior.log_posterior.masked_fill(~finite[:, None], torch.nan)
    )


def test_candidates_are_compared_on_the_rows_that_all_have_finite_outputs_for(redundant, caplog):
    left, part = torch.arange(8, 160), [lacking(redundant[0], slice(0, 4)), lacking(redundant[2], slice(4, 8))]
    rest = [
        replace(posterior, finite=posterior.finite[left], log_posterior=posterior.log_posterior[left])
        for posterior in redundant
    ]
    members, gains = choose_members(part, LABELS, 2)
    assert members == (0, 1) and gains == pytest.approx(choose_members([rest[0], rest[2]], LABELS[left], 2)[1])
    assert "The committee is chosen on 152 of 160 rows" in caplog.text and "0 candidates are left out" in caplog.text


@pytest.mark.parametrize(
    "second", [slice(70, 145), LABELS == 0], ids=["more than half of all", "all but one of a class"]
)  # fmt: skip
def test_a_candidate_that_leaves_too_few_common_rows_is_left_out(redundant, second, caplog):
    first, other = lacking(redundant[0], slice(0, 10)), lacking(redundant[2], second)
    assert choose_members([first, other], LABELS, 2)[0] == (0,)
    assert "on 150 of 160 rows" in caplog.text and "1 candidates are left out" in caplog.text
    caplog.clear()
    assert choose_members(redundant, LABELS, 2) and not caplog.text


@pytest.fixture
def selector(tmp_path):
    return TeacherSelector(cache_dir=tmp_path / "cache", progress=False)


def test_a_committee_out_of_a_zoo(selector, zoo, rows, passes):
    committee = selector.select_committee(folder_teachers(zoo), rows, 2)
    assert isinstance(committee, Committee)
    ranking = selector.rank(folder_teachers(zoo), rows)
    assert committee.members[0] == ranking.top(1)[0]
    assert 1 <= len(committee.members) <= 2 and len(set(committee.members)) == len(committee.members)
    assert committee.information_gains[0] == pytest.approx(
        max(ranking.scored[0].scores["information_gain"], 0.0), abs=1e-3
    )
    assert [one.candidate for one in committee.ranking.teachers] == [one.candidate for one in ranking.teachers]
    assert [member.teacher for member in committee.ranking.members] == [one.name for one in committee.members]
    assert committee.ranking.committee() == list(committee.members)
    assert committee.members[0].name in str(committee)
    run = {name for name, _ in passes}
    assert sum(count for name, count in passes if name == "first") == 54 and "first" in run, "a row was run twice"


def test_roles_are_written_on_the_members(selector, zoo, rows):
    committee = selector.select_committee(folder_teachers(zoo), rows, 1)
    assert committee.with_roles(["foundation"]).members[0].role == "foundation"
    with pytest.raises(InvalidArgumentError, match="`roles` must hold one role for each of 1 members, got 2"):
        committee.with_roles(["foundation", "complementary"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "`k` must be at least 1, got 0"),
        ({"k": 3, "shortlist": 2}, "`shortlist` must be at least `k` = 3, got 2"),
    ],
)
def test_bad_numbers(selector, zoo, rows, settings, message):
    with pytest.raises(InvalidArgumentError, match=message):
        selector.select_committee(folder_teachers(zoo), rows, **settings)


def test_a_candidate_that_vanishes_after_the_ranking_is_left_out(selector, zoo, rows, monkeypatch):
    best = selector.rank(folder_teachers(zoo), rows).top(2)
    plain = Teacher.load.__func__

    def load(cls, candidate, *arguments, **settings):
        if candidate.name in gone:
            raise TeacherUnavailableError(f"{candidate.name} is gone.")
        return plain(cls, candidate, *arguments, **settings)

    monkeypatch.setattr(Teacher, "load", classmethod(load))
    gone = {best[0].name}
    committee = selector.select_committee(best, rows, 1)
    assert committee.members == (best[1],)
    assert committee.ranking.committee() == [best[1]]
    gone |= {best[1].name}
    with pytest.raises(NoTeacherLeftError, match="None of the 2 best teachers could be loaded again. Rank them again"):
        selector.select_committee(best, rows, 1)


def test_no_teacher_left(selector, zoo, rows):
    with pytest.raises(NoTeacherLeftError, match="bad-nan"):
        selector.select_committee(folder_teachers(zoo / "bad-nan"), rows)
