import json
from dataclasses import asdict, replace

import pytest

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.records import TeacherCandidate, from_json

HUB = TeacherCandidate("org/birds", "ab12", task="image-classification", label_names=("owl", "hawk"), languages=("en",))
FOLDER = TeacherCandidate(
    "/home/me/zoo/birds/", "cd34", "folder", random_weights=True, problem="broken", problem_code=ProblemCode.BROKEN
)


def test_json_round_trip():
    for candidate in (HUB, FOLDER):
        assert from_json(TeacherCandidate, json.loads(json.dumps(asdict(candidate)))) == candidate


def test_a_record_without_the_optional_parts_is_read():
    assert from_json(TeacherCandidate, {"model_id": "org/a", "revision": "1"}) == TeacherCandidate("org/a", "1")


def test_only_pickles_are_a_problem_that_can_be_allowed():
    pickled = HUB.with_problem(TeacherUnavailableError("it has only pickles.", ProblemCode.PICKLE_ONLY))
    pickled.check_usable(allow_pickle=True)
    HUB.check_usable()
    for candidate, allow_pickle in ((pickled, False), (FOLDER, True)):
        with pytest.raises(TeacherUnavailableError, match=candidate.problem) as caught:
            candidate.check_usable(allow_pickle=allow_pickle)
        assert caught.value.code is candidate.problem_code


def test_a_problem_without_a_code_stays_a_problem():
    candidate = from_json(TeacherCandidate, {"model_id": "org/a", "revision": "1", "problem": "pass allow_pickle"})
    assert candidate.problem_code is None
    with pytest.raises(TeacherUnavailableError, match="pass allow_pickle") as caught:
        candidate.check_usable(allow_pickle=True)
    assert caught.value.code is ProblemCode.UNKNOWN


def test_names_for_tables():
    assert (HUB.name, FOLDER.name) == ("org/birds", "random weights like birds")
    untrained = replace(HUB, untrained=True)
    assert [HUB.is_control, FOLDER.is_control, untrained.is_control] == [False, True, True]
    assert (HUB.marked_name, untrained.marked_name) == ("org/birds", "org/birds (control)")
    assert untrained.name == "org/birds", "it has its own weights"


def test_others_do_not_learn_where_a_folder_lies():
    assert FOLDER.without_path() == replace(FOLDER, model_id="birds")
    assert HUB.without_path() is HUB
