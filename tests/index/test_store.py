from hf_ctkd.index.specification import TeacherSpecification, candidates_of, table_of
from hf_ctkd.index.store import PartFolder, latest, with_downloads
from hf_ctkd.records import TeacherCandidate


def rows(*names: str, revision: str = "1", source: str = "hub"):
    return table_of([TeacherSpecification(TeacherCandidate(name, revision, source, downloads=1)) for name in names])


def test_of_several_rows_of_a_teacher_the_last_counts(tmp_path):
    store = PartFolder(tmp_path)
    for table in (rows("a", "b"), rows("a", revision="2"), rows("a", source="folder")):
        store.append(table)
    before = store.read()
    assert [(one.model_id, one.revision, one.source) for one in candidates_of(before)] == [
        ("b", "1", "hub"), ("a", "2", "hub"), ("a", "1", "folder")]  # fmt: skip
    assert store.compact({}) == before == store.read()
    assert [part.name for part in store.parts] == ["teachers-000003.parquet"]


def test_an_interrupted_merge_reads_the_same(tmp_path):
    store = PartFolder(tmp_path)
    store.append(rows("a", "b"))
    store.append(store.read())
    assert len(store.read()) == 2


def test_downloads_are_those_of_the_hub():
    table = with_downloads(rows("a", "b"), {"a": 7})
    assert table["downloads"].to_pylist() == [7, 1]
    assert with_downloads(rows("a", source="folder"), {"a": 7})["downloads"].to_pylist() == [1]
    assert latest(table) is table
