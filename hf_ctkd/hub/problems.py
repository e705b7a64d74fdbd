"""What the Hub's refusals mean, in words that say what to do."""

import errno
import json

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hf_ctkd.errors import ProblemCode, TeacherUnavailableError

# The transport's own failures (connection refused, body cut short, time-out) share this base with the Hub's answers;
# taking it from here keeps working whichever HTTP library huggingface_hub is built on.
HTTPFailure: type[Exception] = HfHubHTTPError.__bases__[0]

HubFailure: tuple[type[Exception], ...] = (HTTPFailure, OSError, ValueError, KeyError)
"""What a call to huggingface_hub may raise: a refusal, a failed transport or disk, an answer that makes no sense."""

_LONGEST_WAIT = 60.0


def unavailable(error: BaseException, repo_id: str | None = None) -> TeacherUnavailableError:
    """The error of this library for a failure of huggingface_hub: `explain` is its message, `problem_code` its code.

    Args:
        error: what huggingface_hub raised.
        repo_id: the repository in question; None when the Hub was searched.
    """
    return TeacherUnavailableError(explain(error, repo_id), problem_code(error))


def problem_code(error: BaseException) -> ProblemCode:
    """Sort what huggingface_hub raised by the kind of problem; as in `explain`, the cause may count instead.

    Args:
        error: what huggingface_hub raised.
    """
    if isinstance(error, (LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        return problem_code(error.__cause__)
    if isinstance(error, GatedRepoError):  # first: it derives from RepositoryNotFoundError
        return ProblemCode.GATED
    if isinstance(error, (RepositoryNotFoundError, RevisionNotFoundError)):
        return ProblemCode.NOT_FOUND
    if isinstance(error, DisabledRepoError):
        return ProblemCode.DISABLED
    return ProblemCode.HUB_FAILED


def explain(error: BaseException, repo_id: str | None = None) -> str:
    """Say what went wrong and what to do, in a clause or two that fit a table as well as a message.

    Args:
        error: what huggingface_hub raised; the cause counts where the error itself says less.
        repo_id: the repository in question; None when the Hub was searched.
    """
    if isinstance(error, (LocalEntryNotFoundError, RuntimeError)) and error.__cause__ is not None:
        return explain(error.__cause__, repo_id)
    if isinstance(error, HfHubHTTPError):
        return _explain_answer(error, repo_id)
    if isinstance(error, OfflineModeIsEnabled):
        return "offline mode is on and it is not in the cache. Unset `HF_HUB_OFFLINE` to reach the Hub."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
        return f"it cannot be stored: {error.strerror}. Free some space or choose another `cache_dir`."
    if isinstance(error, (HTTPFailure, OSError)):
        return f"the connection to the Hub broke off ({_beginning(error)}). Check the network and run again."
    if isinstance(error, (json.JSONDecodeError, KeyError)):
        return (
            f"the answer is not that of a Hub ({_beginning(error)}). Check `HF_ENDPOINT` and the network's login page."
        )
    return f"huggingface_hub refuses it ({_beginning(error)}). Correct the name or the file."


def out_of_reach(error: BaseException) -> bool:
    """Tell whether the Hub was not reached at all: offline mode, or a connection that failed; no answer of its own."""
    return isinstance(error, (HTTPFailure, ConnectionError)) and not isinstance(error, HfHubHTTPError)


def seconds_to_wait(error: HfHubHTTPError, attempt: int) -> float | None:
    """Tell after how many seconds the same request may succeed; None if waiting is no use or takes too long.

    Args:
        error: the Hub's refusal.
        attempt: how many times it was tried before, from 0; the wait doubles with each.
    """
    status = error.response.status_code
    if status != 429 and status < 500:
        return None
    retry_after = _retry_after(error)
    wait = 2.0**attempt if retry_after is None else retry_after + 1.0
    return wait if wait <= _LONGEST_WAIT else None


def _explain_answer(error: HfHubHTTPError, repo_id: str | None) -> str:
    page = f"{HfApi().endpoint}/{repo_id}"
    if isinstance(error, GatedRepoError):  # first: it derives from RepositoryNotFoundError
        return f"it is gated: ask for access at {page}, then log in with `hf auth login`."
    if isinstance(error, RepositoryNotFoundError):
        return "it is private or missing. Check the name, or log in with a token that may read it."
    if isinstance(error, RevisionNotFoundError):
        return f"it has no such revision. Choose one of {page}/commits/main."
    if isinstance(error, DisabledRepoError):
        return "its access is disabled on the Hub. Choose another."
    return _explain_status(error)


def _explain_status(error: HfHubHTTPError) -> str:
    status = error.response.status_code
    reason = f": {error.server_message}" if error.server_message else ""
    if status == 429:
        retry_after = _retry_after(error)
        wait = "a while" if retry_after is None else f"{retry_after:g} seconds"
        return f"the Hub is rate limited (HTTP 429). Wait {wait} and run again, or log in for a higher limit."
    if status in (401, 403):
        return f"the Hub refused the token (HTTP {status}{reason}). Log in with a token that has the permission."
    if status >= 500:
        return f"the Hub failed (HTTP {status}). Run again later."
    return f"the Hub refused the request (HTTP {status}{reason or ': ' + _beginning(error)})."


def _retry_after(error: HfHubHTTPError) -> float | None:
    value = error.response.headers.get("Retry-After", "")
    return float(value) if value.isdigit() else None


def _beginning(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]).rstrip(".") if lines else type(error).__name__
