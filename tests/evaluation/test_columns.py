from dataclasses import replace
from pathlib import Path

import pytest
import tiny
from datasets import Features, Value

from hf_ctkd.errors import DatasetError
from hf_ctkd.evaluation.columns import TrainedColumns, trained_columns
from hf_ctkd.records import DistillationRecord

RECORD = Path(__file__).parents[2] / "model_cards" / "digits-image-student" / "distillation.json"
TEXT = Value("string")


@pytest.fixture
def student(tmp_path):
    """A folder whose record names unusual columns."""
    tiny.text_model().save_pretrained(tmp_path)
    record = DistillationRecord.load(RECORD)
    task = replace(record.task, input_column="claim, reply", label_column="stance")
    return replace(record, task=task).save(tmp_path / "distillation.json").parent


def test_they_are_those_of_the_record_in_order(student):
    columns = trained_columns(student)
    assert columns.inputs_in(Features({"reply": TEXT, "claim": TEXT})) == ["claim", "reply"]
    assert columns.label_in(Features({"label": TEXT, "stance": TEXT})) == "stance"


def test_a_name_with_a_comma_is_one_column():
    columns = TrainedColumns("student", "size, in metres", "label")
    assert columns.inputs_in(Features({"size, in metres": TEXT})) == ["size, in metres"]


def test_rows_that_lack_one_are_refused():
    columns = TrainedColumns("student", "claim, reply", "stance")
    words = (
        r"The student 'student' was trained on the column {!r}, which these rows lack; they have \['claim'\]\. Name "
    )
    with pytest.raises(DatasetError, match=words.format("reply") + ".* with `input_column`"):
        columns.inputs_in(Features({"claim": TEXT}))
    with pytest.raises(DatasetError, match=words.format("stance") + ".* with `label_column`"):
        columns.label_in(Features({"claim": TEXT}))


def test_a_student_without_a_record_has_none(student, caplog):
    (student / "distillation.json").unlink()
    assert trained_columns(student) is None and not caplog.text


def test_a_record_that_cannot_be_read_is_said_to_be_left_out(student, caplog):
    (student / "distillation.json").write_text('{"kind": "another"}')
    assert trained_columns(student) is None
    assert "Columns are chosen by their types and names: distillation.json of" in caplog.text


def test_of_a_student_on_a_hub(student, hub, caplog):
    hub.add("me/student", student)
    files = {path.name: path.read_bytes() for path in student.iterdir()}
    hub.add("me/plain", {name: content for name, content in files.items() if name != "distillation.json"})
    assert trained_columns("me/student").label == "stance"
    assert trained_columns("me/plain") is None and not caplog.text
    hub.fault("distillation.json", status=403)
    hub.add("me/closed", student)
    assert trained_columns("me/closed") is None
    assert "distillation.json of me/closed cannot be read. the Hub refused" in caplog.text
