import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from huggingface_hub import constants, scan_cache_dir, snapshot_download

from hf_ctkd.errors import InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import hub_teachers, random_like
from hf_ctkd.selection import TeacherSelector, downloads
from hf_ctkd.selection.downloads import fetched_ahead
from hf_ctkd.teachers import Teacher


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of huggingface_hub."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def selector(tmp_path, cache):
    return TeacherSelector(cache_dir=tmp_path / "cache", progress=False)


@pytest.fixture
def models(hub, make_teacher, tmp_path):
    """Three teachers on the Hub, by the names that rankings have."""
    for number, name in enumerate(("a", "b", "c")):
        hub.add(f"org/{name}", make_teacher(tmp_path / "models" / name, seed=number))
    return ["org/a", "org/b", "org/c"]


def cached(cache) -> set[str]:
    return {repo.repo_id for repo in scan_cache_dir(cache).repos} if cache.exists() else set()


def weights(hub, name: str) -> list[str]:
    return hub.seen(f"GET /{name}/resolve/.*safetensors")


def wait_until(condition, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        threading.Event().wait(0.02)


def test_the_next_is_fetched_while_this_one_is_used_and_no_more():
    fetched, used, seen = [], [], []
    arrived = {number: threading.Event() for number in range(5)}

    def fetch(number):
        fetched.append(number)
        arrived[number].set()

    for number, problem in fetched_ahead(iter(range(4)), fetch, lambda *pair: used.append(pair)):
        assert problem is None
        if number < 3:
            assert arrived[number + 1].wait(10)
        seen.append((number, list(fetched)))
    assert seen == [(0, [0, 1]), (1, [0, 1, 2]), (2, [0, 1, 2, 3]), (3, [0, 1, 2, 3])]
    assert used == [(0, (1,)), (1, (2,)), (2, (3,)), (3, ())]


def test_others_arrive_while_a_download_stalls(monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 0.05)
    stalled, at_once, most = threading.Event(), set(), []

    def fetch(number):
        at_once.add(number)
        most.append(len(at_once))
        if number in (0, 2):
            stalled.wait(30)
        at_once.discard(number)

    used = []
    items = fetched_ahead(iter(range(8)), fetch, lambda number, others: used.append((number, set(others))))
    first = [number for number, _ in (next(items) for _ in range(6))]
    assert first == [1, 3, 4, 5, 6, 7]
    assert used[-1][0] == 6 and {0, 2} <= used[-1][1], "what is not there yet is named, and not deleted"
    stalled.set()
    assert {number for number, _ in items} == {0, 2}
    assert max(most) <= downloads.MOST


def test_one_at_once_keeps_the_order(monkeypatch):
    monkeypatch.setattr(downloads, "PATIENCE", 0.01)
    items = fetched_ahead(iter(range(4)), lambda number: time.sleep(0.05 if number == 0 else 0), most=1)
    assert [number for number, _ in items] == [0, 1, 2, 3]


def test_a_problem_belongs_to_its_item_and_other_errors_end_the_run():
    def fetch(number):
        if number == 1:
            raise TeacherUnavailableError("gone", ProblemCode.NOT_FOUND)
        if number == 2:
            raise InvalidArgumentError("wrong")

    items = fetched_ahead(iter(range(4)), fetch)
    assert next(items) == (0, None)
    number, problem = next(items)
    assert (number, problem.code, str(problem)) == (1, ProblemCode.NOT_FOUND, "gone")
    with pytest.raises(InvalidArgumentError, match="wrong"):
        next(items)


def test_closed_early_it_does_not_wait():
    stuck = threading.Event()
    items = fetched_ahead(iter(range(3)), lambda number: stuck.wait(30 if number else 0))
    assert next(items) == (0, None)
    start = time.monotonic()
    items.close()
    assert time.monotonic() - start < 5
    stuck.set()


def test_downloads_run_one_ahead_of_scoring(selector, models, rows, hub, monkeypatch):
    """While a teacher is run, the next arrives, and the one after it is not asked for."""
    plain, seen = Teacher.load.__func__, {}

    def watched(cls, candidate, *arguments, **settings):
        upcoming = models[models.index(candidate.model_id) + 1 :][:1]
        wait_until(lambda: all(weights(hub, name) for name in upcoming))
        threading.Event().wait(0.2)
        seen[candidate.model_id] = [name for name in models if weights(hub, name)]
        return plain(cls, candidate, *arguments, **settings)

    monkeypatch.setattr(Teacher, "load", classmethod(watched))
    assert len(selector.rank(models, rows).scored) == 3
    assert seen == {"org/a": models[:2], "org/b": models, "org/c": models}
    assert all(len(weights(hub, name)) == 1 for name in models)
    before = len(hub.seen("/resolve/|/tree/"))
    selector.rank(list(hub_teachers(*models)), rows)  # all scores are cached: nothing is fetched
    assert len(hub.seen("/resolve/|/tree/")) == before


def test_a_download_that_fails_ahead_costs_its_candidate_alone(selector, models, rows, hub, no_waiting):
    hub.fault("GET /org/b/resolve/.*safetensors", truncate=True)
    ranking = selector.rank(models, rows)
    assert {teacher.candidate.name for teacher in ranking.scored} == {"org/a", "org/c"}
    (skipped,) = (teacher for teacher in ranking.teachers if teacher.skipped)
    assert skipped.candidate.name == "org/b" and skipped.skipped_code is ProblemCode.HUB_FAILED
    assert "broke off" in skipped.skipped
    failed = len(weights(hub, "org/b"))
    (candidate,) = hub_teachers("org/b")
    with pytest.raises(TeacherUnavailableError):
        selector.options.fetch(candidate)
    assert len(weights(hub, "org/b")) == 2 * failed  # it was tried once more here, and had not been tried twice before


def test_offline_nothing_is_asked_for(selector, models, rows, hub, monkeypatch):
    candidates = list(hub_teachers(*models))
    for candidate in candidates[:2]:
        selector.options.fetch(candidate)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    ranking = replace(selector, delete_downloads=True).rank(candidates, rows)
    assert {teacher.candidate.name for teacher in ranking.scored} == {"org/a", "org/b"}
    assert "offline mode is on and it is not in the cache" in ranking.teachers[-1].skipped
    assert len(hub.requests) == asked
    for candidate in candidates[:2]:
        assert selector.options.fetch(candidate).is_dir()


def test_downloads_are_deleted_once_scored(selector, models, rows, hub, cache, monkeypatch):
    plain, seen = Teacher.load.__func__, {}

    def watched(cls, candidate, *arguments, **settings):
        seen[candidate.model_id] = cached(cache)
        return plain(cls, candidate, *arguments, **settings)

    kept = selector.rank(models, rows)
    assert cached(cache) == set(models)
    for path in (cache / "models--org--b", cache / "models--org--c"):
        path.rename(cache.parent / path.name)
    monkeypatch.setattr(Teacher, "load", classmethod(watched))
    deleting = replace(selector, cache_dir=selector.cache_dir / "other", delete_downloads=True)
    ranking = deleting.rank(models, rows)
    assert [teacher.scores for teacher in ranking.scored] == [teacher.scores for teacher in kept.scored]
    assert cached(cache) == {"org/a"}  # which was there before
    assert "org/b" not in seen["org/c"] and "org/b" in seen["org/b"]


def test_a_control_of_the_next_model_does_not_take_its_files(selector, models, rows, hub, cache):
    deleting = replace(selector, delete_downloads=True)
    ranking = deleting.rank([random_like("org/a"), *hub_teachers("org/a", "org/b")], rows)
    assert len(ranking.scored) == 3 and len(weights(hub, "org/a")) == 1
    assert cached(cache) == set()


@pytest.mark.parametrize("kind", ["workers", "committee"])
def test_workers_and_committees_delete_too(selector, models, rows, cache, zoo, kind):
    snapshot_download("org/a", cache_dir=cache)
    with ThreadPoolExecutor(2) as threads:
        deleting = replace(selector, delete_downloads=True, executor=threads if kind == "workers" else None)
        candidates = [*hub_teachers(*models), random_like("org/b"), zoo / "first"]
        if kind == "workers":
            assert len(deleting.rank(candidates, rows).scored) == 5
        else:
            assert deleting.select_committee(candidates, rows, 2).members
    assert cached(cache) == {"org/a"} and (zoo / "first" / "config.json").is_file()
