from dataclasses import replace

import pyarrow as pa
import pytest
from hub_server import model_files
from huggingface_hub import ModelInfo

from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.hub.metadata import label_names_of, languages_of, license_of, task_of
from hf_ctkd.hub.search import candidate_of
from hf_ctkd.index.specification import SCHEMA, TeacherSpecification, candidates_of


def test_the_task_follows_from_the_architecture():
    assert task_of({"architectures": ["ViTForImageClassification"]}) == "image-classification"
    assert task_of({"architectures": ["DeiTForImageClassificationWithTeacher"]}) == "image-classification"
    assert task_of({"architectures": ["BertForSequenceClassification"]}) == "text-classification"
    assert task_of({"architectures": ["BertModel"]}) is None
    assert task_of({}) is None
    assert task_of({"architectures": 5}) is None


def test_a_classifier_whose_configuration_is_silent_has_two_classes():
    assert label_names_of({"architectures": ["BertForSequenceClassification"]}) == ("LABEL_0", "LABEL_1")
    assert label_names_of({}) is None


def test_labels_that_are_no_mapping_are_refused():
    with pytest.raises(TeacherUnavailableError, match="`id2label` of its configuration must map integers to names"):
        label_names_of({"id2label": {"cat": 0}})
    with pytest.raises(TeacherUnavailableError, match="`id2label`"):
        label_names_of({"id2label": ["cat"]})


def test_names_that_no_file_could_hold_are_refused():
    with pytest.raises(TeacherUnavailableError, match="holds a name that is no text"):
        label_names_of({"id2label": {"0": "\ud800"}})


def test_what_is_no_text_on_a_card_states_nothing():
    assert license_of({"license": {"name": "mit"}}) is license_of({"license": [["mit"]]}) is None
    assert license_of({"license": "\ud800"}) is None
    assert languages_of({"language": ["de", ["en"], {"a": "b"}, "\ud800"]}) == ("de",)


def test_licences():
    assert license_of({"license": "mit"}) == "mit"
    assert license_of({"license": ["mit", "gpl"]}) == "mit"
    assert license_of({"license": "other", "license_name": "own-terms"}) == "own-terms"
    assert license_of({}, ("vision", "license:bsd")) == "bsd"
    assert license_of({}) is None


def test_languages():
    assert languages_of({"language": "en"}) == ("en",)
    assert languages_of({"language": ["de", False]}) == ("de", "no")
    assert languages_of({}) == ()


def test_a_model_that_says_so_is_untrained(tmp_path):
    """By its card in a folder, by its tags on the Hub and in an index; its name and weights stay its own."""
    for name, tags in (("plain", "[vision]"), ("random", "[vision, random-weights]"), ("odd", "random-weights-not")):
        files = model_files(card=f"license: mit\ntags: {tags}")
        (tmp_path / name).mkdir()
        for file, content in files.items():
            (tmp_path / name / file).write_bytes(content)
    untrained = {candidate.name: candidate.untrained for candidate in folder_teachers(tmp_path)}
    assert untrained == {"plain": False, "random": True, "odd": False}
    info = ModelInfo(id="org/random", sha="ab12", tags=["vision", "random-weights"])
    assert candidate_of(info).untrained and candidate_of(info).name == "org/random"
    specification = TeacherSpecification(replace(candidate_of(info), untrained=False), tags=("random-weights",))
    (candidate,) = candidates_of(pa.Table.from_pylist([specification.row()], schema=SCHEMA))
    assert candidate.untrained
