from dataclasses import replace

from benchmarks.evidence.generic.design import (
    ABLATIONS,
    ALONE,
    BRANCHES,
    EXACT,
    EXACT_TARGET,
    GENERIC,
    PLAIN,
    POOL,
    SAME,
    SEEDS,
    STUDENTS,
    TUNING_SEEDS,
    TUNING_STUDENTS,
    UNIFORM,
    WRONG,
    WRONG_TARGET,
    Tuning,
    first_round,
    fourth_round,
    plan,
    second_round,
    teacher_of,
    third_round,
    trials,
)

TUNED = Tuning(branches={"kl_direction": "from_teacher", "branch_temperature": 4.0})


def test_at_least_twenty_students_and_three_seeds_are_compared():
    runs = list(plan(TUNED))
    for arm in (PLAIN, GENERIC, UNIFORM, WRONG_TARGET):
        pairs = {(run.student, run.seed) for run in runs if run.arm == arm}
        assert len(pairs) == 20 * 3 == len(STUDENTS) * len(SEEDS)
    assert len({run.key for run in runs}) == len(runs)


def test_the_wrong_target_is_no_student_and_the_exact_one_is_the_student_itself():
    assert WRONG not in STUDENTS
    for run in plan(TUNED):
        if run.arm == WRONG_TARGET:
            assert run.teacher.target == WRONG.path
        if run.arm == EXACT_TARGET:
            assert run.teacher.target == run.student and len(run.teacher.pool) == 1
            assert run.teacher.pool.largest.shape == run.member.shape
    assert len({run.student for run in plan(TUNED) if run.arm == EXACT_TARGET}) == EXACT


def test_arms_differ_in_what_they_say_and_in_nothing_else():
    generic = teacher_of(GENERIC, 0, TUNED)
    assert generic.branches == TUNED.branches and generic.pool == POOL
    assert teacher_of(UNIFORM, 0, TUNED).branches == {**TUNED.branches, "path_sampler": "uniform"}
    assert teacher_of(PLAIN, 0, TUNED).pool is None and teacher_of(PLAIN, 0, TUNED).branches == {}
    other = teacher_of("KL in the other direction", 0, TUNED)
    assert other.branches == {**TUNED.branches, "kl_direction": "from_branch"}
    for arm in ABLATIONS:
        changed = teacher_of(arm, 0, TUNED)
        assert replace(changed, arm=GENERIC, branches=generic.branches) == generic
        assert len(set(changed.branches.items()) ^ set(generic.branches.items())) in {1, 2}


def test_tuning_sees_neither_the_seeds_nor_more_settings_for_one_arm():
    assert not set(TUNING_SEEDS) & set(SEEDS)
    assert len(first_round()) >= len(second_round(Tuning())) == len(BRANCHES)
    assert len(first_round()) >= len(third_round(TUNED)) + len(fourth_round(TUNED, GENERIC))
    assert {run.seed for run in trials(TUNED, GENERIC)} == set(TUNING_SEEDS)
    few = trials(TUNED, PLAIN, few=True)
    assert {run.key for run in few} < {run.key for run in trials(TUNED, PLAIN)} and len(few) == 8
    assert {run.student for run in trials(TUNED, PLAIN)} == {student.path for student in TUNING_STUDENTS}
    assert all(run.teacher is None for run in trials(TUNED, ALONE))
    for arm in (PLAIN, GENERIC):
        assert [trials(one, arm)[0].temperature for one in fourth_round(TUNED, arm).values()] == [1.0, 2.0, 4.0]


def test_temperatures_are_those_of_the_kind_of_teacher():
    tuned = replace(TUNED, plain_temperature=2.0, generic_temperature=1.0)
    found = {(run.arm == PLAIN, run.temperature) for run in plan(tuned) if run.arm != ALONE}
    assert found == {(True, 2.0), (False, 1.0)}
    same = [run for run in plan(tuned) if run.arm == SAME]
    assert len(same) == 60 and {run.teacher.arm for run in same} == {PLAIN}
    assert not [run for run in plan(TUNED) if run.arm == SAME], "nothing to tell apart"


def test_a_key_follows_what_shapes_a_run():
    one = next(iter(plan(TUNED)))
    assert replace(one, seed=9).key != one.key != replace(one, rate=0.5).key
    assert replace(one, teacher=replace(one.teacher, rate=0.5)).key != one.key
    assert next(iter(plan(TUNED))).key == one.key
