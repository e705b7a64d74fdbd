from benchmarks.evidence.store import Store

COLUMNS = ("key", "task", "accuracy", "error")


def _row(key, **changes):
    return {"key": key, "task": "t", "accuracy": 0.5, "error": "", **changes}


def test_rows_survive_a_merge_in_an_order_of_their_own(tmp_path):
    store = Store(tmp_path, "runs", COLUMNS)
    store.add("b", [_row("b", task="z")])
    store.add("a", [_row("a", task="y, with comma")])
    before = store.rows()
    first = store.merge()
    assert [row["key"] for row in first] == ["a", "b"]
    text = store.table.read_text()
    assert sorted(before, key=lambda row: row["key"]) == store.rows() == first
    store.merge()
    assert store.table.read_text() == text
    assert not list(store.parts.glob("*.json"))


def test_a_run_made_again_replaces_the_earlier_one(tmp_path):
    store = Store(tmp_path, "runs", COLUMNS)
    store.add("a", [_row("a", error="RuntimeError: no memory")])
    store.merge()
    assert store.done() == set()
    store.add("a", [_row("a", accuracy=0.7)])
    assert store.done() == {"a"}
    assert [row["accuracy"] for row in store.merge()] == ["0.7"]


def test_a_column_that_a_table_was_written_without_is_empty(tmp_path):
    store = Store(tmp_path, "runs", COLUMNS)
    store.add("a", [_row("a")])
    store.merge()
    wider = Store(tmp_path, "runs", (*COLUMNS, "times"))
    assert wider.merge() == [{**{name: str(value) for name, value in _row("a").items()}, "times": ""}]


def test_a_key_may_have_several_rows(tmp_path):
    store = Store(tmp_path, "scores", COLUMNS)
    store.add("a", [_row("a", task="one"), _row("a", task="two")])
    store.merge()
    assert len(store.rows()) == 2
