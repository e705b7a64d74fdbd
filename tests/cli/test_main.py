import errno

import pytest

from hf_ctkd import __version__
from hf_ctkd.cli import publish, select
from hf_ctkd.cli.main import main
from hf_ctkd.errors import InvalidArgumentError, PublishingError

WORDS = ["publish", "student", "me/student"]


def raising(monkeypatch, error):
    def run(arguments):
        raise error

    monkeypatch.setattr(publish, "run", run)


def test_version(run):
    assert run("--version")[:2] == (0, f"hf_ctkd {__version__}\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a command is missing: choose one of index, select, "),
        (["rank"], "there is no command 'rank': choose one of index, select, "),
        (["slect"], "there is no command 'slect' (did you mean select?)"),
        (["publish"], "required: FOLDER, REPO_ID"),
        (["publish", "a", "b/c", "--private"], "unrecognized arguments: --private."),
        (["select", "--dataset", "x", "--teacher", "y"], "--teacher (did you mean --teachers?)"),
    ],
)
def test_wrong_usage_ends_with_two(run, words, said):
    code, _, err = run(*words)
    assert code == 2
    assert said in err and err.count("\n") == 1


def test_an_error_of_ours_is_one_line(monkeypatch, run):
    raising(monkeypatch, PublishingError("nothing there. Look elsewhere."))
    assert run(*WORDS) == (1, "", "hf-ctkd publish: error: nothing there. Look elsewhere.\n")


def test_a_disk_that_refuses_is_one_line(monkeypatch, run):
    raising(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "out/model.safetensors"))
    code, _, err = run(*WORDS)
    assert code == 1
    assert err.startswith("hf-ctkd publish: error: out/model.safetensors: No space left on device. Choose")


@pytest.mark.parametrize("bug", [RuntimeError("a bug"), OSError(errno.ECONNRESET, "a bug")])
def test_a_bug_keeps_its_traceback(monkeypatch, bug):
    raising(monkeypatch, bug)
    with pytest.raises(type(bug), match="a bug"):
        main(WORDS)


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        (KeyboardInterrupt(), "\nhf-ctkd publish: interrupted. Run the same command again.\n"),
        (KeyboardInterrupt("Half of it is kept."), "\nhf-ctkd publish: interrupted. Half of it is kept.\n"),
    ],
)
def test_interruption_says_what_is_kept(monkeypatch, run, stop, said):
    raising(monkeypatch, stop)
    assert run(*WORDS) == (130, "", said)


def test_an_argument_of_the_library_is_named_as_its_flag(monkeypatch, run):
    message = (
        "`max_rows` must be at least 1. Pass `allow_pickle=True` or `seed=3`; `labels` and `k` are no flags of this."
    )

    def refuse(parsed):
        raise InvalidArgumentError(message)

    monkeypatch.setattr(select, "run", refuse)
    code, _, err = run("select", "--dataset", "x")
    assert code == 1
    assert "`--max_rows` must be at least 1. Pass `--allow_pickle` or `--seed 3`; `labels` and `k` are no flags" in err
