"""The Hub is out of reach in a fresh process; what was fetched before lies in the cache that both share."""

import pytest
from hub_server import model_files

from hf_ctkd.hub import fetch_teacher, hub_teachers
from hf_ctkd.records import NOT_LOOKED_UP

FETCH = """
import sys, time
time.sleep = lambda seconds: None
from hf_ctkd.errors import TeacherUnavailableError
from hf_ctkd.hub import fetch_teacher, hub_teachers
for found in hub_teachers(*sys.argv[1:]):
    print(found.model_id, found.source, found.revision, found.parameters, found.license, found.label_names, sep="|")
    print(found.problem or fetch_teacher(found))
"""
AWAY = {"offline": {"HF_HUB_OFFLINE": "1"}, "unreachable": {"HF_ENDPOINT": "http://127.0.0.1:9"}}


@pytest.fixture
def fetched_before(hub):
    """Fetch the newest commit of a repository into the shared cache, as a run before did; gives its sha."""

    def fetch(name, **files):
        sha = hub.add(name, {**model_files(labels=["x", "y"]), **files})
        fetch_teacher(next(hub_teachers(f"{name}@{sha}")))
        return sha

    return fetch


@pytest.mark.parametrize("away", AWAY)
@pytest.mark.parametrize("by", ["id", "commit"])
def test_a_copy_in_the_cache_stands_for_the_model(fetched_before, run_against_hub, away, by):
    name = f"org/cached-{away}-{by}"
    sha = fetched_before(name)
    done = run_against_hub(["-c", FETCH, name if by == "id" else f"{name}@{sha}"], **AWAY[away])
    told, folder = done.stdout.splitlines()
    assert told == f"{name}|hub|{sha}|6|{NOT_LOOKED_UP}|('x', 'y')", done.stderr
    assert folder.endswith(f"/snapshots/{sha}")


def test_nobody_guesses_which_of_several_commits_is_meant(fetched_before, run_against_hub):
    first, second = (fetched_before("org/cached-twice", note=note) for note in (b"1", b"2"))
    done = run_against_hub(["-c", FETCH, "org/cached-twice", f"org/cached-twice@{first}"], **AWAY["offline"])
    _, problem, _, folder = done.stdout.splitlines()
    assert "the Hub is out of reach and 2 commits of it are in the cache. Name one, as in" in problem
    assert first in problem or second in problem
    assert folder.endswith(f"/snapshots/{first}")


def test_without_a_copy_it_is_said_why(hub, run_against_hub):
    hub.add("org/never-fetched", model_files())
    done = run_against_hub(["-c", FETCH, "org/never-fetched"], **AWAY["offline"])
    assert "offline mode is on and it is not in the cache. Unset `HF_HUB_OFFLINE`" in done.stdout, done.stderr


def test_an_answer_of_the_hub_is_not_passed_over_for_a_copy(hub, fetched_before, no_waiting):
    fetched_before("org/cached-gated")
    hub.fault("GET /api/models/org/cached-gated", status=500)
    assert next(hub_teachers("org/cached-gated")).problem == "the Hub failed (HTTP 500). Run again later."
