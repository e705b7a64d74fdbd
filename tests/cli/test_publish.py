import shutil
from pathlib import Path

import pytest
from huggingface_hub import HfApi


@pytest.fixture
def student(distilled) -> Path:
    return Path(shutil.copytree(distilled, "student"))


@pytest.mark.parametrize(("words", "private"), [([], True), (["--public"], False)])
def test_private_unless_told_otherwise(run, hub, logged_in, student, words, private):
    code, out, err = run("publish", student, "me/student", *words)
    assert code == 0, err
    info = HfApi(token=logged_in).model_info("me/student")
    assert info.private is private
    assert {"README.md", "distillation.json", "model.safetensors"} <= {file.rfilename for file in info.siblings}
    assert f"Published {'for you alone' if private else 'for everybody'}: " in out


def test_a_card_of_somebody_else_stays_unless_told_otherwise(run, hub, logged_in, student):
    (student / "README.md").write_text("mine")
    code, _, err = run("publish", student, "me/student")
    assert code == 1
    assert "README.md was not written by hf_ctkd" in err
    assert run("publish", student, "me/student", "--overwrite_card")[0] == 0


@pytest.mark.parametrize(
    ("folder", "repo_id", "said"),
    [
        ("student", "a/b/c", "`repo_id` must be"),
        ("nowhere", "me/student", "nowhere is no folder"),
        (".", "me/student", "has no distillation.json"),
    ],
)
def test_what_cannot_be_published(run, hub, logged_in, student, folder, repo_id, said):
    code, out, err = run("publish", folder, repo_id)
    assert (code, out) == (1, "")
    assert err.startswith("hf-ctkd publish: error: ") and said in err


def test_a_private_repository_is_never_said_to_be_for_everybody(run, hub, logged_in, student):
    assert run("publish", student, "me/student")[0] == 0
    code, out, err = run("publish", student, "me/student", "--public")
    assert (code, out) == (1, "")
    assert "'me/student' is private on the Hub, but a public one is asked for" in err
