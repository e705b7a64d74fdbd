import json

import pytest
from huggingface_hub import scan_cache_dir
from tiny_shelf import NAMES

from hf_ctkd.cli.budget import budget_of
from hf_ctkd.errors import InvalidArgumentError
from hf_ctkd.records import TeacherRanking
from hf_ctkd.selection import SelectionBudget


def test_limits_with_units():
    assert budget_of([]) is None
    assert budget_of(["10m"]) == SelectionBudget(seconds=600)
    assert budget_of(["1.5h", "5GB", "20000rows"]) == SelectionBudget(seconds=5400, forwards=20000, bytes=5 * 10**9)


@pytest.mark.parametrize("word", ["10", "m", "10 parsecs", "-5m", "1e3s", ""])
def test_a_word_that_is_no_limit(word):
    with pytest.raises(InvalidArgumentError, match=r"`budget` .* is no limit. Give a time such as 30s, 10m or 2h"):
        budget_of([word])


def test_a_limit_given_twice():
    with pytest.raises(InvalidArgumentError, match="`budget` limits seconds twice, by '1h' the second time"):
        budget_of(["10m", "1h"])


def test_a_budget_on_the_command_line(select):
    code, out, err = select("--budget", "10m", "100000rows")
    assert code == 0, err
    ranking = TeacherRanking.load("ranking.json")
    assert ranking.settings["budget"]["limits"] == {"seconds": 600, "forwards": 100000, "bytes": None}
    assert ranking.certainty in out
    code, _, err = select("--budget", "10m", "2rows", "--output", "other.json")
    assert code == 1
    assert (
        "hf-ctkd select: error: `--budget` of 600.0 seconds and 2 rows run through teachers does not suffice to" in err
    )


def test_a_dry_run_downloads_nothing(select, hub, shelf, tmp_path):
    files = {path.name: path.read_bytes() for path in (shelf / "zoo" / "four").iterdir()}
    hub.add("org/four", files)
    code, out, err = select("--teachers", "org/four", "org/gone", "--dry_run")
    assert code == 0, err
    size = sum(len(files[name]) for name in ("config.json", "model.safetensors", "preprocessor_config.json"))
    assert f"3 teachers, {size:,} bytes to download. Nothing was downloaded." in out
    assert "org/gone" in out and "cannot be used: it is no folder here, and on the Hub: it is private or missing" in out
    assert not hub.seen("resolve/.*safetensors") and not (tmp_path / "ranking.json").exists()


def test_a_dry_run_counts_each_model_once_and_says_what_the_budget_allows(select, hub, shelf):
    for name in ("one", "two", "three"):
        hub.add(f"org/{name}", {path.name: path.read_bytes() for path in (shelf / "zoo" / "four").iterdir()})
    four = shelf / "zoo" / "four"
    ids = ["org/one", "org/two", "org/three", "org/one"]
    code, out, err = select("--teachers", four, *ids, "--dry_run", zoo=four)
    assert code == 0, err
    files = ("config.json", "model.safetensors", "preprocessor_config.json")
    size = sum((four / name).stat().st_size for name in files)
    assert f"4 teachers, {3 * size:,} bytes to download. Nothing was downloaded." in out
    assert "within --budget" not in out and out.count("org/one") == 1
    budget = f"{2 * size / 1000}kB"
    code, out, err = select("--teachers", four, *ids, "--dry_run", "--budget", budget, zoo=four)
    assert code == 0, err
    fitting = f"of which 3 with {2 * size:,} bytes are within the budget of {2 * size:,} bytes."
    assert f"4 teachers, {3 * size:,} bytes to download, {fitting} Nothing was downloaded." in out
    assert [line.split()[-1] for line in out.splitlines()[1:5]] == ["yes", "yes", "yes", "no"]


def test_a_dry_run_spends_bytes_in_the_order_of_a_ranking(select, hub, shelf):
    files = {path.name: path.read_bytes() for path in (shelf / "zoo" / "four").iterdir()}
    hub.add("org/unnamed", files)
    config = json.loads(files["config.json"]) | {"id2label": dict(enumerate([*NAMES, "dotted"]))}
    config["label2id"] = {name: number for number, name in config["id2label"].items()}
    hub.add("org/named", {**files, "config.json": json.dumps(config).encode()})
    words = ["--teachers", "org/unnamed", "org/named", "--dry_run"]
    size = sum(len(files[name]) for name in ("model.safetensors", "preprocessor_config.json")) + 2000
    code, out, err = select(*words, "--budget", f"{size / 1000}kB", zoo=shelf / "zoo" / "four")
    assert code == 0, err
    within = {line.split()[0]: line.split()[-1] for line in out.splitlines()[1:4]}
    assert (within["org/named"], within["org/unnamed"]) == ("yes", "no"), "the nearest class names first"


def test_downloads_are_deleted_if_asked(select, hub, shelf):
    hub.add("org/deleted", shelf / "zoo" / "four")
    hub.add("org/kept", shelf / "zoo" / "four")
    for name, words in (("org/deleted", ["--delete_downloads"]), ("org/kept", [])):
        code, _, err = select("--teachers", name, *words, "--output", f"{name[4:]}.json")
        assert code == 0, err
    cached = {repo.repo_id for repo in scan_cache_dir().repos}
    assert "org/kept" in cached and "org/deleted" not in cached


@pytest.mark.parametrize("unit", ["rows", "GB", "m"])
def test_a_number_that_is_infinite_as_a_float(unit):
    with pytest.raises(InvalidArgumentError, match="is no limit"):
        budget_of(["9" * 400 + unit])


def test_a_dry_run_makes_no_folder_and_prints_no_json(select, tmp_path):
    assert select("--dry_run", "--output", "new/ranking.json")[0] == 0 and not (tmp_path / "new").exists()
    code, out, err = select("--dry_run", "--json")
    assert (code, out) == (1, "")
    assert "`--json` prints a ranking, but `--dry_run` makes none. Leave one of them out." in err
