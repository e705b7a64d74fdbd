import errno

import pytest
from hub_server import model_files
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from hf_ctkd.hub.problems import HubFailure, explain, seconds_to_wait


def _answer(hub, status, headers=None):
    hub.add("org/a", model_files())
    hub.fault("GET /api/models/org/a", status=status, headers=headers or {}, times=1)
    with pytest.raises(HfHubHTTPError) as caught:
        HfApi().model_info("org/a")
    return caught.value


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"the Hub refused the token \(HTTP 401"),
        (403, r"the Hub refused the token \(HTTP 403"),
        (418, r"the Hub refused the request \(HTTP 418"),
        (429, r"the Hub is rate limited \(HTTP 429\). Wait a while and run again"),
        (502, r"the Hub failed \(HTTP 502\). Run again later"),
    ],
)
def test_answers_become_words(hub, status, words):
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(explain(_answer(hub, status), "org/a"))


def test_a_disabled_repository(hub):
    error = _answer(hub, 403, {"X-Error-Message": "Access to this resource is disabled."})
    assert explain(error, "org/a") == "its access is disabled on the Hub. Choose another."


def test_other_failures_become_words():
    assert explain(OSError(errno.EACCES, "Permission denied")).startswith("it cannot be stored: Permission denied.")
    assert explain(ConnectionError("refused.")).startswith("the connection to the Hub broke off (refused). Check")
    assert explain(KeyError("id")).startswith("the answer is not that of a Hub ('id'). Check `HF_ENDPOINT`")
    assert explain(ValueError("bad name")).startswith("huggingface_hub refuses it (bad name).")
    assert explain(ConnectionError()).startswith("the connection to the Hub broke off (ConnectionError)")


def test_failures_of_the_transport_are_caught_without_naming_its_library(hub):
    hub.add("org/a", model_files())
    hub.fault("GET /api/models/org/a", truncate=True)
    with pytest.raises(HubFailure) as caught:
        HfApi().model_info("org/a")
    assert not isinstance(caught.value, (OSError, ValueError, KeyError))
    assert "broke off" in explain(caught.value)


def test_waiting_is_bounded(hub):
    assert seconds_to_wait(_answer(hub, 429, {"Retry-After": "7"}), 0) == 8.0
    assert seconds_to_wait(_answer(hub, 429, {"Retry-After": "3600"}), 0) is None
    assert seconds_to_wait(_answer(hub, 503), 0) == 1.0
    assert seconds_to_wait(_answer(hub, 503), 2) == 4.0
    assert seconds_to_wait(_answer(hub, 418), 0) is None
