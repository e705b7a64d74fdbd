from dataclasses import replace

import pytest
import tiny
import torch
from datasets import Dataset, Image, load_dataset, load_from_disk

from hf_ctkd import AFTLoss, ProbeLoss, RowTransportLoss, TeacherFreeLoss, soft_targets
from hf_ctkd.data import InputFeatureReader, TargetRows
from hf_ctkd.errors import InvalidArgumentError, TeacherUnavailableError
from hf_ctkd.hub import folder_teachers
from hf_ctkd.teachers import Teacher, compute_outputs
from hf_ctkd.training.soft_targets import compute_soft_targets
from hf_ctkd.types import LossContext, ModelOutputs


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> str:
    folder = tiny.save_image_teacher(tmp_path_factory.mktemp("teacher") / "squares")
    (folder / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    return str(folder)


@pytest.fixture
def settings(tmp_path) -> dict:
    return {"cache_dir": tmp_path / "cache", "progress": False}


def test_the_column_holds_the_plan_of_the_default_loss(teacher, settings):
    rows = tiny.image_rows(24, unlabelled=6)
    dataset = soft_targets(rows, [teacher], **settings)
    assert dataset.column_names == ["image", "label", "soft_targets"] and len(dataset) == 24
    targets = torch.tensor(dataset["soft_targets"][:])
    assert torch.allclose(targets.sum(dim=1), torch.ones(24))
    target_rows = TargetRows.of(rows)
    outputs = compute_outputs(
        Teacher.load(next(folder_teachers(teacher)), "image"), target_rows, layers=True, progress=False
    )
    context = LossContext(
        target_rows.labels,
        target_rows.label_space,
        ModelOutputs(torch.zeros(1, 1)),
        (outputs,),
        (None,),
        inputs=InputFeatureReader.without_model(target_rows),
    )
    loss = RowTransportLoss()
    loss.setup(context)
    assert torch.allclose(targets, loss.soft_targets(loss.row_targets(context)), atol=1e-5)
    assert dataset.info.license == "cc-by-nc-4.0" and "squares" in dataset.info.description
    probes = torch.tensor(soft_targets(rows, [teacher], ProbeLoss(), **settings)["soft_targets"][:])
    assert torch.allclose(probes.sum(dim=1), torch.ones(24)) and not torch.equal(probes, targets)


def test_pairs_of_texts_and_no_teacher(settings):
    words = [f"{tiny.WORDS[row % 2]} {tiny.WORDS[3 + row % 2]}" for row in range(12)]
    pairs = Dataset.from_dict({"premise": words, "hypothesis": ["a sky"] * 12, "label": [row % 2 for row in range(12)]})
    dataset = soft_targets(pairs, [], TeacherFreeLoss(), **settings)
    assert torch.tensor(dataset["soft_targets"][:]).argmax(dim=1).tolist() == pairs["label"][:]
    assert dataset.info.license == ""


def test_rows_that_cannot_be_read_are_left_out(teacher, settings):
    stored = tiny.image_rows(24).cast_column("image", Image(decode=False))
    contents = stored["image"][:]
    contents[3] = {"bytes": b"x", "path": None}
    broken = Dataset.from_dict({"image": contents, "label": stored["label"][:]}, features=tiny.image_rows().features)
    dataset = soft_targets(broken, [teacher], skip_bad_rows=True, **settings)
    assert len(dataset) == 23
    assert dataset["label"][:] == [label for row, label in enumerate(stored["label"][:]) if row != 3]


def spoil(monkeypatch, count):
    """Makes a teacher's features NaN for the first rows of the first batch."""
    plain = Teacher.outputs

    def outputs(self, batch, *arguments, **options):
        result = plain(self, batch, *arguments, **options)
        result.features[:count] = torch.nan
        return result

    monkeypatch.setattr(Teacher, "outputs", outputs)


def test_rows_whose_outputs_are_not_finite_are_left_out_and_counted(teacher, settings, monkeypatch, caplog, tmp_path):
    rows = tiny.image_rows(24, unlabelled=6)
    good = soft_targets(rows.select(range(4, 24)), [teacher], **settings)
    spoil(monkeypatch, 4)
    targets = compute_soft_targets(rows, [teacher], cache_dir=tmp_path / "other", progress=False)
    remark = (
        "The outputs of squares are NaN or infinite for 4 of 24 training rows, which were left out of the data set "
        "with soft targets."
    )
    assert remark in caplog.messages and targets.record.loss.remarks == (remark,) and targets.record.rows == 20
    assert targets.dataset["label"][:] == rows["label"][4:]
    torch.testing.assert_close(
        torch.tensor(targets.dataset["soft_targets"][:]), torch.tensor(good["soft_targets"][:]), atol=1e-4, rtol=0
    )
    assert remark in targets.save(tmp_path / "made").read_text()


def test_a_teacher_without_finite_outputs_for_most_rows_gives_no_targets(teacher, settings, monkeypatch):
    spoil(monkeypatch, 13)
    with pytest.raises(
        TeacherUnavailableError, match="Teacher 'squares': its outputs are not finite for 13 of 24 rows"
    ):
        soft_targets(tiny.image_rows(24), [teacher], **settings)


def test_saved_with_a_card_and_read_back(teacher, settings, tmp_path):
    rows = tiny.image_rows()
    targets = compute_soft_targets(rows, [teacher], column="plan", **settings)
    card = targets.save(tmp_path / "folder")
    assert card == tmp_path / "folder" / "README.md"
    assert load_from_disk(tmp_path / "folder")["plan"][:] == targets.dataset["plan"][:]
    text = card.read_text()
    for words in (
        "| squares |",
        "**Licence: cc-by-nc-4.0** (no commercial use)",
        "Loss: **row_transport**",
        "| epsilon | 0.25 |",
    ):
        assert words in text
    assert "license: cc-by-nc-4.0" in text.split("---")[1]
    assert str(tmp_path) not in text

    files = [tmp_path / f"{row}.png" for row in range(len(rows))]
    for file, image in zip(files, rows["image"][:], strict=True):
        image.save(file)
    on_disk = Dataset.from_dict({"image": list(map(str, files)), "label": rows["label"][:]}, features=rows.features)
    named = replace(targets, dataset=on_disk.add_column("plan", targets.dataset["plan"][:]))
    assert named.save(tmp_path / "new" / "rows.parquet") == tmp_path / "new" / "rows.README.md"
    for file in files:
        file.unlink()  # the Parquet file holds the images themselves
    read = load_dataset("parquet", data_files=str(tmp_path / "new" / "rows.parquet"), split="train")
    assert read[0]["image"].size == (8, 8) and read["plan"][:] == targets.dataset["plan"][:]


def test_a_teacher_that_knows_nothing_gets_no_credit_for_the_input_features(
    teacher, settings, monkeypatch, caplog, tmp_path
):
    monkeypatch.setattr(Teacher, "outputs", lambda *_, **__: ModelOutputs(torch.ones(24, 4)))
    targets = compute_soft_targets(tiny.image_rows(24), [teacher], **settings)
    remark = (
        "None of the teachers knows anything of the labels: all that the soft targets tell is read from the input "
        "features of the rows."
    )
    assert remark in caplog.messages and targets.record.loss.remarks == (remark,)
    assert targets.record.strength > 0.5 and targets.record.loss.input_share == pytest.approx(1, abs=1e-4)
    card = targets.save(tmp_path / "made").read_text()
    assert remark in card and "Together the teachers explain" not in card
    assert "The share of the input features in the targets is 1.000, that of the teachers 0.000." in card


def test_the_card_gives_teachers_and_input_features_their_shares(teacher, settings):
    rows = tiny.image_rows(24)
    record = compute_soft_targets(rows, [teacher], **settings).record
    assert record.sources.startswith("Together the teachers and the input features of the rows explain ")
    assert 0 < record.loss.input_share < 1 and record.loss.remarks == ()
    alone = compute_soft_targets(rows, [teacher], ProbeLoss(), **settings).record
    assert alone.sources.startswith("Together the teachers explain ") and "share" not in alone.sources
    free = compute_soft_targets(rows, [], TeacherFreeLoss(), **settings).record
    assert free.sources.startswith("The input features of the rows explain ") and free.loss.remarks == ()


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> str:
    folder = tiny.save_image_teacher(tmp_path_factory.mktemp("student") / "start", seed=3)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    return str(folder)


def test_the_layers_of_a_student_are_read_like_those_of_a_teacher(teacher, student, settings, tmp_path):
    rows = tiny.image_rows(24, unlabelled=6)
    targets = compute_soft_targets(rows, [teacher], student=student, **settings)
    together = soft_targets(rows, [teacher, student], RowTransportLoss(input_features=False), **settings)
    assert targets.dataset["soft_targets"][:] == together["soft_targets"][:]
    assert [one.candidate.name for one in targets.record.teachers] == ["squares"]
    assert targets.record.student.name == "start" and 0 < targets.record.loss.input_share < 1
    assert targets.record.sources.startswith("Together the teachers and the layers of the student explain ")
    assert targets.dataset.info.description.endswith("start, made with hf_ctkd by the loss row_transport.")
    card = targets.save(tmp_path / "made").read_text()
    assert "The layers of start, revision " in card and "licence mit, were read too" in card
    assert "**Licence: cc-by-nc-4.0**" in card and str(tmp_path) not in card


def test_a_student_needs_no_teacher(student, settings):
    rows = tiny.image_rows(24)
    targets = compute_soft_targets(rows, [], student=student, **settings)
    alone = soft_targets(rows, [student], RowTransportLoss(input_features=False), **settings)
    assert targets.dataset["soft_targets"][:] == alone["soft_targets"][:]
    assert targets.record.sources.startswith("The layers of the student explain ")
    assert targets.record.teachers == targets.record.loss.remarks == () and targets.record.license.license == "mit"
    blind = compute_soft_targets(rows, ["random:" + student], student=student, **settings).record
    assert "so that the student learns from its own for the most part." in " ".join(blind.loss.remarks)


def test_pushed_privately_with_its_card(teacher, settings, hub, logged_in):
    targets = compute_soft_targets(tiny.image_rows(), [teacher], **settings)
    url = targets.push("me/targets")
    repo = hub.repos["me/targets"]
    assert repo.private and url.endswith(f"me/targets/commit/{repo.sha}")
    assert set(repo.files) == {"README.md", "data/train-00000-of-00001.parquet"}
    assert "load_dataset('me/targets', split=\"train\")" in repo.files["README.md"].decode()
    assert hub.seen("POST /api/datasets/me/targets/commit")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"loss": AFTLoss()}, "`loss` AFTLoss has no class probabilities for each row. Use RowTransportLoss"),
        ({"loss": RowTransportLoss(input_features="student")}, "`student` must name the checkpoint that RowTransport"),
        ({"loss": ProbeLoss(), "student": "nowhere"}, "`student` is not read by ProbeLoss. Leave one of them out, or"),
        ({"teachers": []}, "`teachers` must hold at least one teacher for RowTransportLoss, got none. Name one"),
        ({"column": "label"}, "`column` 'label' is in the data set already. Choose another name."),
    ],
)
def test_what_cannot_be_done_is_refused_before_a_teacher_is_loaded(settings, arguments, message):
    with pytest.raises(InvalidArgumentError, match=message):
        soft_targets(**{"dataset": tiny.image_rows(), "teachers": ["nowhere"], **settings, **arguments})
