import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hub_server import model_files
from huggingface_hub import HfApi, get_session
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import hf_raise_for_status

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError
from hf_ctkd.hub import download_bytes, fetch_teacher, hub_teachers, waiting
from hf_ctkd.hub.waiting import bounded_waits


def test_an_hour_is_not_waited_for(hub, no_waiting):
    hub.add("org/model", model_files())
    (candidate,) = hub_teachers("org/model")
    hub.fault("/org/model/(tree|resolve)", status=429, headers={"Retry-After": "3600"})
    for ask in (fetch_teacher, download_bytes):
        with pytest.raises(TeacherUnavailableError, match="rate limited .*429.*. Wait 3600 seconds") as error:
            ask(candidate)
        assert error.value.code is ProblemCode.HUB_FAILED
    assert not no_waiting
    assert len(hub.seen("/org/model/(tree|resolve)")) == 2


def test_a_short_wait_is_kept(hub, no_waiting):
    hub.add("org/model", model_files())
    (candidate,) = hub_teachers("org/model")
    hub.fault("/org/model/resolve/.*/config.json", status=429, headers={"Retry-After": "7"}, times=2)
    assert fetch_teacher(candidate).is_dir()  # huggingface_hub asks once without waiting, then with
    assert no_waiting == [8.0]


def test_the_client_is_left_as_it_was(hub):
    hub.add("org/model", model_files())
    (candidate,) = hub_teachers("org/model")
    before = {event: list(hooks) for event, hooks in get_session().event_hooks.items()}
    fetch_teacher(candidate)
    assert {event: list(hooks) for event, hooks in get_session().event_hooks.items()} == before


def test_threads_may_be_in_it_at_once(monkeypatch):
    class SlowClient:
        """Gives other threads a turn between the reading and the writing of its hooks."""

        hooks: dict = {}

        @property
        def event_hooks(self):
            hooks = self.hooks
            threading.Event().wait(random.uniform(0, 0.002))
            return hooks

        @event_hooks.setter
        def event_hooks(self, hooks):
            self.hooks = hooks

    def enter(_):
        with bounded_waits():
            threading.Event().wait(random.uniform(0, 0.002))
            return len(client.hooks["response"])

    client = SlowClient()
    monkeypatch.setattr("hf_ctkd.hub.waiting.get_session", lambda: client)
    with ThreadPoolExecutor(4) as threads:
        assert min(threads.map(enter, range(40))) >= 1
    assert client.hooks == {"response": []}


@pytest.mark.parametrize(("repeats", "seconds"), [(False, [8.0, 8.0]), (True, [])])
def test_a_refused_listing_is_asked_for_again_unless_huggingface_hub_does(
    hub, no_waiting, monkeypatch, repeats, seconds
):
    monkeypatch.setattr(waiting, "REPEATS_LISTINGS", repeats)
    hub.fault("GET /refused", status=429, headers={"Retry-After": "7"}, times=2)
    hub.add("org/model", model_files())
    address = HfApi().endpoint + "/refused"

    def listing():
        hf_raise_for_status(get_session().get(address))
        yield "never"

    with pytest.raises(HfHubHTTPError):  # after the two waits there is nothing at that address
        waiting.ask_again_for_list(listing)
    assert no_waiting == seconds
