import pytest

from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub.metadata import label_names_of, languages_of, license_of, task_of


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
