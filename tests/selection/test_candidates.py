import dataclasses

import pytest
from hub_server import model_files

from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.records import TeacherCandidate
from hf_ctkd.selection.candidates import REST, each_candidate

ONE = TeacherCandidate("org/one", "sha")


def test_each_once_and_only_when_asked_for():
    asked = []

    def source():
        for candidate in (ONE, dataclasses.replace(ONE, downloads=3), dataclasses.replace(ONE, revision="other")):
            asked.append(candidate)
            yield candidate

    candidates = each_candidate(source())
    assert next(candidates) == ONE
    assert len(asked) == 1
    assert [candidate.revision for candidate in candidates] == ["other"]


def test_what_is_no_candidate():
    with pytest.raises(InvalidArgumentError, match="`candidates` must hold TeacherCandidate records, ids .* got int"):
        list(each_candidate(iter([3])))


def test_a_source_that_breaks_off_says_so():
    def source():
        yield ONE
        raise TeacherUnavailableError("rate limited")

    last = list(each_candidate(source()))[-1]
    assert (last.model_id, last.problem) == (REST, "rate limited")


def test_ids_are_looked_up_on_the_hub(hub):
    missing = next(each_candidate("org/missing@v1"))
    assert (missing.model_id, missing.revision) == ("org/missing", "v1")
    assert "private or missing" in missing.problem


def test_a_name_after_random_is_a_control(hub):
    hub.add("org/one", model_files())
    plain, control = each_candidate(["org/one", "random:org/one"])
    assert (plain.random_weights, control.random_weights) == (False, True)
    assert plain.revision == control.revision
