import doctest

import pytest
from hub_server import TOKEN, USER, model_files

from hf_ctkd.errors import PublishingError
from hf_ctkd.hub import fetch_teacher, hub_teachers, push, push_folder


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "student"
    (folder / "figures").mkdir(parents=True)
    (folder / "checkpoint-1").mkdir()
    files = {
        **model_files(labels=["a", "b"]),
        "training_args.bin": b"pickle",
        "figures/map.png": b"png",
        "empty.txt": b"",
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


FILES = ["README.md", "config.json", "figures/map.png", "model.safetensors", "preprocessor_config.json"]


def test_pushed_listed_and_pulled_back_byte_by_byte(hub, logged_in, folder, tmp_path):
    url = push_folder(folder, "me/student", files=[*FILES, "empty.txt"], private=False, commit_message="First")
    repo = hub.repos["me/student"]
    assert url == f"{hub.url}/me/student/commit/{repo.sha}"
    assert repo.files == {name: (folder / name).read_bytes() for name in [*FILES, "empty.txt"]}
    [found] = hub_teachers(author=USER)
    assert (found.revision, found.label_names, found.license) == (repo.sha, ("a", "b"), "apache-2.0")
    pulled = fetch_teacher(found, cache_dir=tmp_path / "cache")
    for path in pulled.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()
    assert (pulled / "model.safetensors").is_file()


def test_a_repository_is_private_unless_told_otherwise(hub, logged_in, folder):
    push_folder(folder, "student", files=FILES)
    assert hub.repos["me/student"].private
    push_folder(folder, "me/shown", files=FILES, private=False)
    assert not hub.repos["me/shown"].private


def test_a_private_push_never_lands_in_a_public_repository(hub, logged_in, folder):
    hub.add("me/student", {"README.md": b"old"})
    with pytest.raises(
        PublishingError, match="'me/student' is there already and public, but `private` asks for a private"
    ):
        push_folder(folder, "me/student", files=FILES)
    assert hub.repos["me/student"].files == {"README.md": b"old"}
    push_folder(folder, "me/student", files=FILES, private=False)
    assert set(hub.repos["me/student"].files) == set(FILES)


def test_a_private_repository_is_not_opened_by_a_public_push(hub, logged_in, folder):
    hub.add("me/student", {"notes.txt": b"mine"}, private=True)
    with pytest.raises(PublishingError, match="'me/student' is private on the Hub, but .* public at http.*/settings"):
        push_folder(folder, "me/student", files=FILES, private=False)
    assert hub.repos["me/student"].private
    assert hub.repos["me/student"].files == {"notes.txt": b"mine"}


def test_what_is_not_named_stays(hub, logged_in, folder):
    hub.add("me/student", {"notes.txt": b"mine", "README.md": b"old"}, private=True)
    push_folder(folder, "me/student", files=FILES)
    assert hub.repos["me/student"].files["notes.txt"] == b"mine"
    assert hub.repos["me/student"].files["README.md"] != b"old"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("training_args.bin", "it is a pickle, which runs code on whoever loads it"),
        ("checkpoint-1/model.safetensors", "it belongs to a checkpoint, a cache or a log"),
        ("../secret.txt", "it lies outside the folder"),
    ],
)
def test_no_pickle_or_checkpoint_is_pushed(hub, logged_in, folder, name, reason):
    with pytest.raises(PublishingError, match=f"'{name}' must not be published: {reason}. Leave it out of `files`"):
        push_folder(folder, "me/student", files=[*FILES, name])
    assert not hub.requests


def test_a_missing_file_or_none_at_all_is_noticed_before_anything_is_sent(hub, logged_in, folder):
    with pytest.raises(PublishingError, match="'gone.json' is not in .*student. Save the model first"):
        push_folder(folder, "me/student", files=["gone.json"])
    with pytest.raises(PublishingError, match="`files` must name what to publish, got nothing"):
        push_folder(folder, "me/student", files=[])
    assert not hub.requests


def test_without_a_token_there_is_a_hint(hub, folder):
    with pytest.raises(PublishingError, match="without a token. Log in with `hf auth login`, set `HF_TOKEN` or pass"):
        push_folder(folder, "me/student", files=FILES)
    assert not hub.requests
    assert push_folder(folder, "me/student", files=FILES, token=TOKEN)


def test_the_hub_refuses(hub, logged_in, folder, no_waiting):
    def reason(repo_id="me/student", **options):
        with pytest.raises(PublishingError, match=f"Cannot publish to '{repo_id}': ") as caught:
            push_folder(folder, repo_id, files=FILES, **options)
        return str(caught.value)

    assert "the Hub refused the token (HTTP 403" in reason("else/student")
    assert "the Hub refused the token (HTTP 401" in reason(token="hf_wrong")
    assert "huggingface_hub refuses it" in reason("a/b/c")
    hub.fault("POST /api/repos/create", status=429, headers={"Retry-After": "9"}, times=1)
    assert "the Hub is rate limited (HTTP 429). Wait 9 seconds" in reason()
    hub.fault("PUT /lfs/", status=503)
    assert "the Hub failed (HTTP 503)" in reason()
    hub.faults.clear()
    hub.fault("POST .*/commit/", status=500, times=1)
    assert "the Hub failed (HTTP 500)" in reason()
    assert hub.repos["me/student"].files == {}
    (folder / "README.md").write_text("---\nlicense: [mit]\n---\n")
    assert 'Invalid metadata in README.md. - "license" must be a string' in reason()


def test_an_upload_goes_on_after_a_hiccup(hub, logged_in, folder, no_waiting):
    hub.fault("PUT /lfs/", status=503, times=2)
    hub.fault("POST .*/preupload/", status=429, headers={"Retry-After": "1"}, times=1)
    push_folder(folder, "me/student", files=FILES)
    assert set(hub.repos["me/student"].files) == set(FILES)


def test_examples():
    assert doctest.testmod(push).failed == 0
