import doctest

import pytest
from hub_server import TOKEN, model_files, needs_retried_listings
from huggingface_hub import ModelInfo, get_session

from hf_ctkd.errors import CTKDError, InvalidArgumentError, ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import hub_teachers, search
from hf_ctkd.hub.listing import HubSearch


def test_a_search_knows_each_teacher_from_its_metadata_alone(hub):
    sha = hub.add("org/birds", model_files(labels=["hawk", "owl"], parameters=1000), downloads=7)
    [found] = hub_teachers(task="image-classification")
    assert (found.model_id, found.revision, found.source, found.problem) == ("org/birds", sha, "hub", None)
    assert (found.task, found.label_names) == ("image-classification", ("hawk", "owl"))
    assert (found.parameters, found.license, found.downloads) == (1000, "apache-2.0", 7)
    assert not hub.seen("resolve")


def test_label_names_stand_in_the_order_of_their_ids_and_may_repeat(hub):
    labels = [f"class {index % 3}" for index in range(12)]
    hub.add("org/a", model_files(labels=labels))
    [found] = hub_teachers("org/a")
    assert found.label_names == tuple(labels)


def test_headless_encoders_have_no_labels(hub):
    hub.add("org/a", model_files("ResNetModel", labels=["LABEL_0", "LABEL_1"]))
    [found] = hub_teachers("org/a")
    assert found.label_names is None
    assert found.problem is None


def test_filters_reach_the_server(hub):
    hub.add("org/a", model_files(card="license: mit\nlanguage: [en, de]"))
    hub.add("org/a-large", model_files(card="license: mit\nlanguage: en", parameters=2_000_001))
    hub.add("org/b", model_files(card="license: mit\nlanguage: fr"))
    hub.add("org/a-apache", model_files(card="license: apache-2.0\nlanguage: en"))
    hub.add("else/a", model_files(card="license: mit\nlanguage: en"))
    hub.add("org/a-text", model_files("BertForSequenceClassification", card="license: mit\nlanguage: en"))
    pickled = model_files(card="license: mit\nlanguage: en")
    pickled["pytorch_model.bin"] = pickled.pop("model.safetensors")
    hub.add("org/a-pickle", pickled)
    found = hub_teachers(
        task="image-classification", license="mit", language="en", search="A", author="org", max_parameters=2e6
    )
    assert [(one.model_id, one.languages) for one in found] == [("org/a", ("en", "de"))]
    [request] = hub.seen("GET /api/models")
    assert "num_parameters=max%3A2M" in request
    assert "limit=50" in request


def test_the_size_is_checked_exactly_although_the_server_knows_millions_only(hub):
    hub.add("org/small", model_files(parameters=1_200_000))
    hub.add("org/large", model_files(parameters=1_300_000))
    assert [one.model_id for one in hub_teachers(author="org", max_parameters=1.25e6)] == ["org/small"]


def test_pages_are_followed_as_far_as_the_limit(hub):
    for index in range(7):
        hub.add(f"org/m{index}", model_files(), downloads=index)
    hub.page_size = 2
    assert [one.name for one in hub_teachers(author="org", limit=5)] == [f"org/m{index}" for index in (6, 5, 4, 3, 2)]
    assert len(hub.seen("GET /api/models")) == 3


def test_pages_are_asked_for_when_needed(hub):
    for index in range(4):
        hub.add(f"org/m{index}", model_files())
    hub.page_size = 1
    teachers = hub_teachers(author="org")
    assert not hub.requests
    next(teachers)
    assert len(hub.seen("GET /api/models")) == 1


def test_ids_are_pinned_to_a_commit(hub):
    first = hub.add("org/a", model_files(labels=["x", "y"]))
    second = hub.add("org/a", model_files(labels=["x", "y", "z"]))
    old, new = hub_teachers(f"org/a@{first}", "org/a@main")
    assert (old.revision, old.label_names) == (first, ("x", "y"))
    assert (new.revision, new.label_names) == (second, ("x", "y", "z"))


def test_named_ones_come_first_and_once(hub):
    for name in ("org/a", "org/b", "org/c"):
        hub.add(name, model_files())
    found = [one.model_id for one in hub_teachers("org/c", task="image-classification")]
    assert found == ["org/c", "org/a", "org/b"]


def test_a_bad_teacher_is_listed_with_its_problem(hub):
    hub.add("org/gated", model_files(), gated="manual")
    hub.add("org/private", model_files(), private=True)
    pickled = model_files()
    pickled["pytorch_model.bin"] = pickled.pop("model.safetensors")
    hub.add("org/pickled", pickled)
    hub.add("org/labels", {**model_files(), "config.json": b'{"id2label": {"cat": 0}}'})
    hub.add("org/mit", model_files(card="license: mit", parameters=10))
    hub.add("org/big", model_files(parameters=1000))
    names = ["gated", "private", "missing", "pickled", "labels", "mit", "big"]
    ids = [*(f"org/{name}" for name in names), "org/mit@v9", "not//valid"]
    candidates = list(hub_teachers(*ids, max_parameters=100, license="apache-2.0"))
    problems = [candidate.problem for candidate in candidates]
    hidden = (
        "it is no folder here, and on the Hub: it is private or missing. Check the name, or log in with a token that "
        "may read it."
    )
    assert problems[:7] == [
        f"it is gated: ask for access at {hub.url}/org/gated, then log in with `hf auth login`.",
        hidden,
        hidden,
        "it has only pickle weights, which run code when loaded. Choose another, or pass `allow_pickle=True` if you "
        "trust it.",
        "`id2label` of its configuration must map integers to names.",
        "its licence is mit, not apache-2.0 as `license` asks.",
        "it has 1,000 parameters, more than `max_parameters` 100.",
    ]
    assert problems[7] == f"it has no such revision. Choose one of {hub.url}/org/mit/commits/main."
    assert problems[8].startswith("it is no folder here, and on the Hub: huggingface_hub refuses it (")
    assert [candidate.problem_code.value for candidate in candidates] == [
        *("gated", "not_found", "not_found", "pickle_only", "broken", "license", "too_large", "not_found"),
        "hub_failed",
    ]


def test_weights_that_the_hub_has_not_counted_are_looked_up_in_the_list_of_files(hub, monkeypatch):
    hub.add("org/new", model_files())
    hub.add("org/empty", {"config.json": b"{}"})
    counted = ModelInfo.__init__

    def not_counted(self, **values):
        counted(self, **{**values, "safetensors": None})

    monkeypatch.setattr(ModelInfo, "__init__", not_counted)
    new, empty = hub_teachers("org/new", "org/empty")
    assert (new.problem, new.problem_code, new.parameters) == (None, None, None)
    assert empty.problem_code is ProblemCode.NO_WEIGHTS
    new.check_usable()
    with pytest.raises(TeacherUnavailableError, match="no weights that transformers opens") as caught:
        empty.check_usable(allow_pickle=True)
    assert caught.value.code is ProblemCode.NO_WEIGHTS


def test_one_gated_teacher_does_not_end_a_search(hub):
    hub.add("org/a", model_files(), gated="auto", downloads=9)
    hub.add("org/b", model_files())
    found = list(hub_teachers(author="org"))
    assert [(one.model_id, one.problem is None) for one in found] == [("org/a", False), ("org/b", True)]


def test_gated_and_private_teachers_that_the_token_may_read_are_fine(hub):
    hub.add("org/gated", model_files(), gated="manual", granted=True)
    hub.add("org/private", model_files(), private=True)
    assert [one.problem for one in hub_teachers("org/gated", "org/private", token=TOKEN)] == [None, None]
    assert len(list(hub_teachers(author="org", token=TOKEN))) == 2


@pytest.mark.parametrize(
    "path", ["GET /api/models/org/a", pytest.param(r"GET /api/models\?", marks=needs_retried_listings)]
)
@pytest.mark.parametrize(("status", "headers"), [(429, {"Retry-After": "3"}), (503, {})])
def test_a_busy_hub_is_asked_again(hub, no_waiting, path, status, headers):
    hub.add("org/a", model_files())
    hub.fault(path, times=2, status=status, headers=headers)
    [found] = hub_teachers("org/a") if "org" in path else hub_teachers(author="org")
    assert found.problem is None
    assert no_waiting == ([4.0, 4.0] if headers else [1.0, 2.0])


def test_a_named_teacher_is_not_waited_for_without_end(hub, no_waiting):
    hub.add("org/a", model_files())
    hub.fault("GET /api/models/org/a", status=429, headers={"Retry-After": "600"})
    [found] = hub_teachers("org/a")
    wait = "the Hub is rate limited (HTTP 429). Wait 600 seconds and run again, or log in for a higher limit."
    assert found.problem == wait
    assert no_waiting == []
    hub.faults.clear()
    hub.fault("GET /api/models/org/a", status=500)
    [found] = hub_teachers("org/a")
    assert found.problem == "the Hub failed (HTTP 500). Run again later."
    assert len(no_waiting) == 2


def test_a_hub_that_hangs_or_talks_nonsense_costs_one_teacher(hub, monkeypatch):
    monkeypatch.setattr(search, "_TIMEOUT", 0.1)
    hub.add("org/a", model_files())
    hub.fault("org/slow", seconds=1.0)
    hub.fault("org/odd", status=200)
    slow, odd, good = hub_teachers("org/slow", "org/odd", "org/a")
    assert slow.problem == (
        "it is no folder here, and on the Hub: the connection to the Hub broke off (timed out). Check the network and "
        "run again."
    )
    assert odd.problem.startswith("the answer is not that of a Hub ('id'). Check `HF_ENDPOINT`")
    assert good.problem is None


@pytest.mark.parametrize("page", [1, 2])
def test_a_search_is_not_waited_for_without_end(hub, no_waiting, monkeypatch, page):
    hooks = dict(get_session().event_hooks)
    for name in "ab":
        hub.add(f"org/{name}", model_files())
    found = hub_teachers(author="org")
    if page == 2:  # the bound is on for later requests of a search too, and off in between
        monkeypatch.setattr(hub, "page_size", 1)
        assert next(found).problem is None and get_session().event_hooks == hooks
    hub.fault("GET /api/models", status=429, headers={"Retry-After": "3600"})
    with pytest.raises(TeacherUnavailableError, match=r"^The Hub cannot be searched: .*429\). Wait 3600 seconds"):
        list(found)
    with pytest.raises(TeacherUnavailableError, match=r"^The Hub cannot be searched: .*429\). Wait 3600 seconds"):
        list(HubSearch(author="org").models())
    assert no_waiting == [] and get_session().event_hooks == hooks


@needs_retried_listings
def test_a_search_that_fails_says_why(hub, no_waiting):
    hub.fault("GET /api/models", status=429, headers={"Retry-After": "5"})
    with pytest.raises(TeacherUnavailableError, match=r"^The Hub cannot be searched: .*429\). Wait 5 seconds"):
        list(hub_teachers(author="org"))
    assert len(no_waiting) == 5
    hub.faults.clear()
    hub.fault("GET /api/models", truncate=True)
    with pytest.raises(CTKDError, match="the connection to the Hub broke off"):
        list(hub_teachers(author="org"))


@pytest.mark.parametrize(
    ("ids", "options", "message"),
    [
        ((), {"limit": 5}, "must know what to look for. Give model ids, or `task`, `search` or `author`"),
        ((), {"task": "x", "limit": 0}, "`limit` must be at least 1, got 0"),
        ((), {"task": "x", "max_parameters": 0}, "`max_parameters` must be a positive number, got 0"),
        ((), {"task": "x", "max_parameters": float("nan")}, "`max_parameters` must be a positive number, got nan"),
        (("org/a@",), {}, 'like "org/name" or "org/name@revision", got \'org/a@\''),
        (("",), {}, "got ''"),
    ],
)
def test_bad_arguments_are_refused_at_once(hub, ids, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        hub_teachers(*ids, **options)
    assert not hub.requests


def test_examples():
    assert doctest.testmod(search).failed == 0
