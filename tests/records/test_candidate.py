import json
from dataclasses import replace

from hf_ctkd.records import TeacherCandidate

HUB = TeacherCandidate("org/birds", "ab12", task="image-classification", label_names=("owl", "hawk"), languages=("en",))
FOLDER = TeacherCandidate("/home/me/zoo/birds/", "cd34", "folder", random_weights=True, problem="broken")


def test_json_round_trip():
    for candidate in (HUB, FOLDER):
        assert TeacherCandidate.from_dict(json.loads(json.dumps(candidate.to_dict()))) == candidate


def test_a_record_without_the_optional_parts_is_read():
    assert TeacherCandidate.from_dict({"model_id": "org/a", "revision": "1"}) == TeacherCandidate("org/a", "1")


def test_names_for_tables():
    assert (HUB.name, FOLDER.name) == ("org/birds", "random weights like birds")


def test_others_do_not_learn_where_a_folder_lies():
    assert FOLDER.without_path() == replace(FOLDER, model_id="birds")
    assert HUB.without_path() is HUB
