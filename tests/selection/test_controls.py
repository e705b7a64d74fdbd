import doctest

import hf_ctkd.selection.controls
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.selection.controls import CONTROLS, control_scores


def test_example():
    assert doctest.testmod(hf_ctkd.selection.controls).failed == 0


def test_what_is_known_of_a_candidate():
    known = control_scores(TeacherCandidate("org/a", "x", parameters=5, downloads=7), 0)
    assert set(known) == set(CONTROLS)
    assert (known["parameters"], known["downloads"]) == (5, 7)
    assert set(control_scores(TeacherCandidate("org/a", "x"), 0)) == {"random"}


def test_chance_follows_the_seed_and_the_name_alone():
    def chance(name, seed):
        return control_scores(TeacherCandidate(name, "x"), seed)["random"]

    assert chance("org/a", 0) == chance("org/a", 0)
    assert len({chance("org/a", 0), chance("org/a", 1), chance("org/b", 0)}) == 3
    values = [chance(f"org/{number}", 0) for number in range(300)]
    assert 0.4 < sum(values) / 300 < 0.6
    assert min(values) >= 0
    assert max(values) < 1
