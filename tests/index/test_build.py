import itertools

import pytest
from hub_server import model_files

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import HubSearch
from hf_ctkd.index import TeacherIndex, build
from hf_ctkd.records import TeacherCandidate


def test_a_search_of_the_hub_becomes_one_row_a_teacher(hub, tmp_path):
    sha = hub.add("org/birds", model_files(labels=["hawk", "owl"], parameters=1000, card="license: mit\nlanguage: en"))
    hub.add("org/gated", model_files(labels=["hawk"]), gated="manual")
    hub.add("org/broken", {**model_files(), "config.json": b'{"id2label": {"cat": 0}}'})
    index = TeacherIndex.build(HubSearch(task=None), tmp_path)
    birds, broken, gated = sorted(index.teachers, key=lambda one: one.model_id)
    assert birds == TeacherCandidate(
        "org/birds", sha, "hub", "image-classification", ("hawk", "owl"), 1000, "mit", 0, ("en",)
    )
    assert broken.problem_code is ProblemCode.BROKEN
    assert [one.model_id for one in index.search(["hawk"])] == ["org/birds"]
    assert {one.model_id for one in index.search(["hawk"], gated=True)} == {"org/birds", gated.model_id}
    assert len(hub.requests) == 1


def test_what_is_there_at_the_same_commit_is_not_fetched_again(hub, tmp_path):
    for name in ("org/a", "org/b"):
        hub.add(name, model_files(labels=[name]), downloads=1)
    TeacherIndex.build(HubSearch(), tmp_path)
    hub.repos["org/a"].downloads = 7
    sha = hub.add("org/b", model_files(labels=["new"]))
    hub.add("org/c", model_files(labels=["third"]))
    hub.requests.clear()
    index = TeacherIndex.build(HubSearch(), tmp_path)
    teachers = {one.model_id: one for one in index.teachers}
    assert (teachers["org/a"].downloads, teachers["org/b"].revision) == (7, sha)
    assert teachers["org/b"].label_names == ("new",)
    assert set(teachers) == {"org/a", "org/b", "org/c"}
    assert len(hub.seen("GET /api/models[?]")) == 1 and not hub.seen("models[?].*expand=config")
    assert not hub.seen("GET /api/models/org/a")
    assert len(TeacherIndex.load(tmp_path)) == 3


def test_many_changes_are_listed_instead_of_looked_up(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_FEW", 1)
    hub.add("org/a", model_files())
    TeacherIndex.build(HubSearch(), tmp_path)
    for name in ("org/b", "org/c"):
        hub.add(name, model_files())
    hub.requests.clear()
    assert len(TeacherIndex.build(HubSearch(), tmp_path)) == 3
    assert len(hub.seen("models[?].*expand=config")) == 1 and not hub.seen("GET /api/models/org")


def test_an_interrupted_build_keeps_its_pages(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_PAGE", 2)
    for number in range(5):
        hub.add(f"org/m{number}", model_files(), downloads=9 - number)
    hub.page_size = 2
    hub.fault("cursor=4", status=403)
    with pytest.raises(TeacherUnavailableError, match="The Hub cannot be searched: the Hub refused"):
        TeacherIndex.build(HubSearch(), tmp_path)
    assert [one.model_id for one in TeacherIndex.load(tmp_path).teachers] == [f"org/m{n}" for n in range(4)]
    hub.faults.clear()
    hub.requests.clear()
    assert len(TeacherIndex.build(HubSearch(), tmp_path)) == 5
    assert [request for request in hub.seen("GET /api/models/org")] == hub.seen("models/org/m4")


def test_a_model_that_is_gone_by_then_is_left_out(hub, tmp_path, caplog):
    hub.add("org/a", model_files())
    TeacherIndex.build(HubSearch(), tmp_path)
    hub.add("org/b", model_files())
    hub.fault("GET /api/models/org/b", status=404)
    assert len(TeacherIndex.build(HubSearch(), tmp_path)) == 1
    assert "1 of 1 new models could not be read any more and are left out." in caplog.text


def test_teachers_are_taken_one_after_the_other(teachers, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_PAGE", 2)

    def source():
        yield from teachers[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TeacherIndex.build(source(), tmp_path)
    assert TeacherIndex.load(tmp_path).teachers == teachers[:2]
    assert TeacherIndex.build(teachers, tmp_path).teachers == teachers


def test_progress_counts_teachers_up_to_the_limit(hub, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(build, "counted", lambda items, *words, unit: made.append((*words, unit)) or items)
    TeacherIndex.build(HubSearch(task="image-classification", limit=7), tmp_path / "index")
    TeacherIndex.build([], tmp_path / "index")
    assert made == [(total, "teachers listed", "teacher") for total in (7, None)]


def test_a_folder_of_models_is_a_source(tmp_path):
    for name in ("one", "two"):
        (tmp_path / "zoo" / name).mkdir(parents=True)
        for file, content in model_files(labels=[name, "cat"]).items():
            (tmp_path / "zoo" / name / file).write_bytes(content)
    index = TeacherIndex.build(tmp_path / "zoo", tmp_path / "index")
    assert [one.name for one in index.search(["one"])] == ["one"]
    assert index.teachers[0].source == "folder" and len(index.teachers[0].revision) == 64


def test_parts_are_merged_and_read_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "_PAGE", 1)
    teachers = [TeacherCandidate("org/a", str(number)) for number in range(4)]
    for one in teachers:
        index = TeacherIndex.build([one], tmp_path)
    assert index.teachers == teachers[-1:]
    assert len(list((tmp_path / "data").iterdir())) == 1


def test_names_of_models_are_refused(tmp_path):
    with pytest.raises(
        InvalidArgumentError, match="`source` must hold TeacherCandidate records, got 'org/model'. List"
    ):
        TeacherIndex.build(iter(["org/model"]), tmp_path)


def test_controls_are_refused(tmp_path):
    control = TeacherCandidate("org/a", "0", random_weights=True)
    with pytest.raises(InvalidArgumentError, match="`source` holds 'random weights like org/a', but an index holds"):
        TeacherIndex.build(itertools.repeat(control), tmp_path)


def test_a_limit_below_one_is_refused():
    with pytest.raises(InvalidArgumentError, match="`limit` must be at least 1, got 0"):
        HubSearch(limit=0)
