import json
import logging
import shlex
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from tiny_shelf import image_rows, save_resnet, text_rows, write_splits
from transformers import AutoModelForImageClassification, AutoModelForSequenceClassification

from hf_ctkd.cards import publishable_files
from hf_ctkd.cli.main import main
from hf_ctkd.cli.outputs import MARKER
from hf_ctkd.records import DistillationRecord, TeacherRanking
from hf_ctkd.training import DistillationTrainer


def test_a_student_from_a_ranking_with_its_baseline(select, distill, tmp_path, caplog):
    assert select()[0] == 0
    best = TeacherRanking.load("ranking.json").top(1)[0]
    code, out, err = distill("--ranking", "ranking.json", "--baseline", "--output_dir", "out", teachers=False)
    assert code == 0, err
    assert {path.name for path in Path("out").iterdir()} >= {"README.md", "ranking.json", "model.safetensors"}
    record = DistillationRecord.load("out/distillation.json")
    assert [teacher.candidate.revision for teacher in record.teachers] == [best.revision]
    assert (record.task.train_rows, record.task.eval_rows, record.task.eval_split) == (24, 12, "test")
    assert set(record.results) == set(record.baseline) == {"accuracy", "macro_f1"}
    assert record.loss.name == "row_transport"
    assert record.command.startswith("hf-ctkd distill --dataset ") and "--ranking ranking.json" in record.command
    assert AutoModelForImageClassification.from_pretrained("out").config.id2label[2] == "striped"
    assert "without distillation" in out and record.gain["accuracy"].text(sign=True) in out
    assert "Now the same student without distillation, for `--baseline`:" in caplog.text
    assert "Card: out/README.md" in out
    assert "Next:  hf-ctkd publish out YOUR_NAME/out" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "student"),
        (["--loss", "row_transport"], "student"),
        (["--loss", "row_transport", "--cache_teacher_outputs", "false"], True),
        (["--loss_settings", '{"epsilon": 0.2}'], "student"),
        (["--loss_settings", '{"input_features": true}'], True),
    ],
)
def test_teachers_of_a_pretrained_student_are_compared_with_it(distill, shelf, words, expected):
    model = AutoModelForImageClassification.from_pretrained(shelf / "student")
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)  # as training moves them
    model.save_pretrained("pretrained")
    shutil.copy(shelf / "student" / "preprocessor_config.json", "pretrained")
    for student, reads in (("pretrained", expected), (shelf / "student", True)):
        code, _, err = distill("--overwrite", *words, student=student)
        assert code == 0, err
        assert DistillationRecord.load("student/distillation.json").loss.settings["input_features"] == reads


def test_progress_can_be_silenced(distill):
    words = ["--max_steps", 1, "--overwrite", "--disable_tqdm", "false"]
    code, _, err = distill(*words)
    assert code == 0 and "/1 [" in err
    code, _, err = distill(*words, "--quiet", "--baseline")
    assert code == 0 and "/1 [" not in err


def test_too_many_bytes_of_outputs_are_refused_in_the_words_of_the_command(distill):
    code, _, err = distill("--max_cache_bytes", 10)
    assert code == 1
    advice = (
        "Raise it, use fewer rows, keep fewer layers by `--teacher_layers 1`, or store half as much by "
        "`--teacher_output_dtype float16`."
    )
    assert f"`--max_cache_bytes` allows 0.0 MB. {advice}" in err


def test_a_text_student_and_no_evaluation(distill, shelf, tmp_path):
    text_rows(names=True).to_csv("rows.csv")
    code, out, err = distill(
        "--train_val_split", 0, dataset="rows.csv", student=shelf / "bert", teachers=shelf / "bert"
    )
    assert code == 0, err
    assert AutoModelForSequenceClassification.from_pretrained("student").config.id2label == {0: "cat", 1: "dog"}
    assert "There was nothing to evaluate on; name rows with `--eval_split`." in out


def pair_file() -> str:
    """Pairs in class order, with class numbers that do not begin at 0, one of them missing."""
    rows = sorted((7 if "cat" in text else 3, text, text.split()[-1]) for text in text_rows()["text"])
    lines = [f"{text},number {number},{'' if row == 5 else label}" for row, (label, text, number) in enumerate(rows)]
    Path("pairs.csv").write_text("\n".join(["question,answer,label", *lines]))
    return "pairs.csv"


def test_pairs_of_texts_from_a_file(select, distill, shelf, caplog):
    assert select("--teachers", shelf / "bert", dataset=pair_file(), zoo=False)[0] == 0
    ranking = TeacherRanking.load("ranking.json")
    assert ranking.dataset["input_column"] == "question, answer"
    assert ranking.dataset["labelled_rows"] == 12, "15, but for the 20 % that `distill` holds out for evaluation"
    words = ["--ranking", "ranking.json", "--input_column", "answer", "question"]
    code, _, err = distill(*words, dataset="pairs.csv", student=shelf / "bert", teachers=False)
    assert code == 0, err
    assert "The values of `label` become 2 classes: 3 is 0, 7 is 1." in caplog.text
    assert AutoModelForSequenceClassification.from_pretrained("student").config.id2label == {0: "3", 1: "7"}
    assert DistillationRecord.load("student/distillation.json").task.input_column == "answer, question"
    assert "columns answer, question and label" in Path("student/README.md").read_text()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            ["question", "reply"],
            "`--input_column` 'reply' is not a column; the data set has ['answer', 'label', 'question']",
        ),
        (["question", "label"], "`--input_column` 'label' must hold texts, as both columns of a pair do"),
        (["question", "answer", "label"], "`--input_column` must name one column, or two different columns of texts"),
    ],
)
def test_columns_that_are_no_pair(distill, shelf, columns, said):
    words = ["--input_column", *columns]
    code, _, err = distill(*words, dataset=pair_file(), student=shelf / "bert", teachers=shelf / "bert")
    assert code == 1 and said in err.splitlines()[-1]


def test_labels_that_are_numbers_make_a_student_that_estimates_them(distill, run, tmp_path, read_json):
    splits = {}
    for name, count in (("train", 24), ("test", 12)):
        rows = image_rows(count, seed=count).remove_columns("label")
        splits[name] = rows.add_column("score", [None if row % 4 == 3 else row % 3 / 2 for row in range(count)])
    code, out, err = distill("--baseline", dataset=write_splits(tmp_path / "numbers", **splits))
    assert code == 0, err
    record = DistillationRecord.load("student/distillation.json")
    assert (record.loss.name, record.task.problem_type) == ("regression_probe", "regression")
    assert (record.task.labelled_rows, record.task.train_rows) == (18, 24)
    assert set(record.results) == set(record.baseline) == {"rmse", "mae", "r2", "pearson"}
    student = AutoModelForImageClassification.from_pretrained("student")
    assert student.config.id2label == {0: "score"} and student.config.problem_type == "regression"
    _check_gain_is_that_of_an_evaluation(record, out, run, tmp_path / "numbers", read_json)


def _check_gain_is_that_of_an_evaluation(record, out, run, rows, read_json):
    words = ["--baseline", "student/without_distillation", "--bootstrap_resamples", 10, "--output", "made"]
    code, _, err = run("evaluate", "student", "--dataset", rows, *words)
    assert code == 0, err
    gain = read_json("made/evaluation.json")["models"][1]["gain"]
    assert gain["rmse"]["low"] < gain["rmse"]["high"], "the two students differ"
    assert gain.keys() == record.gain.keys()
    for name, values in gain.items():
        assert asdict(record.gain[name]) == pytest.approx(values, abs=1e-6)
        assert record.gain[name].text(sign=True) in out
    low, high = record.gain["pearson"].interval
    assert f"({low:+.3f} to {high:+.3f}) |" in Path("student/README.md").read_text()


def test_another_loss_of_the_two_best(select, distill, shelf):
    assert select()[0] == 0
    words = ["--ranking", "ranking.json", "--top", 2, "--loss", "probe", "--loss_settings", '{"temperature": 2.0}']
    assert distill(*words, teachers=False)[0] == 0
    record = DistillationRecord.load("student/distillation.json")
    assert len(record.teachers) == 2
    assert (record.loss.name, record.loss.settings["temperature"]) == ("probe", 2.0)


def test_a_committee_by_name_with_its_roles(distill, shelf):
    words = ["--loss", "committee", "--loss_settings", '{"top_k": 1}', "--resident_teachers", 1]
    words += ["--roles", "foundation", "complementary"]
    zoo = [shelf / "zoo" / "four", shelf / "zoo" / "encoder"]
    code, out, err = distill("--teachers", *zoo, *words, teachers=False)
    assert code == 0, err
    record = DistillationRecord.load("student/distillation.json")
    assert record.loss.name == "committee" and record.loss.settings["top_k"] == 1
    assert [one.candidate.role for one in record.teachers] == ["foundation", "complementary"]
    assert sum(one.weight for one in record.teachers) == pytest.approx(1.0, abs=1e-5)
    assert record.training["teacher_passes_skipped"] == 0.5
    card = Path("student/README.md").read_text()
    assert "four (foundation)" in card and "encoder (complementary)" in card
    assert "teacher\\_passes\\_skipped" in card or "teacher_passes_skipped" in card
    assert not list(Path("student").glob("distillation_loss*"))
    AutoModelForImageClassification.from_pretrained("student")


def test_one_role_a_teacher(distill):
    code, _, err = distill("--loss", "committee", "--roles", "foundation", "complementary")
    assert code != 0 and "`--roles` must hold one for each of 1 teachers, in their order, got 2" in err


def test_every_field_of_the_configuration_is_a_flag(distill, tmp_path):
    Path("flags.yaml").write_text(
        "output_dir: elsewhere\nlearning_rate: 2e-3\nlr_scheduler_type: cosine\nmetrics: [accuracy]\nlogging_steps: 1\n"
        "dataset_name: squares\nseed: 5\n"
    )
    code, out, err = distill("--config", "flags.yaml", "--seed", 6)
    assert code == 0, err
    record = DistillationRecord.load("elsewhere/distillation.json")
    assert (record.training["learning_rate"], record.training["seed"]) == (2e-3, 6)
    assert record.training["lr_scheduler_type"] == "cosine"
    assert set(record.results) == {"accuracy"}
    assert record.task.dataset == "squares"
    assert "--learning_rate=2e-3" in record.command and "flags.yaml" not in record.command
    assert "'row_transport'" in out  # the loss's own term is logged


def test_a_token_never_gets_into_the_record(distill):
    assert distill("--hub_token", "hf_secret", "--eval_split", "test[:6]")[0] == 0
    text = Path("student/distillation.json").read_text() + Path("student/README.md").read_text()
    assert "hf_secret" not in text and "--hub_token" in text


def test_a_run_goes_on_from_its_checkpoint(distill, monkeypatch):
    save = ["--save_strategy", "steps", "--save_steps", 1, "--max_steps", 3]
    once = distill(*save, "--output_dir", "once")
    assert once[0] == 0
    step = DistillationTrainer.training_step

    def interrupted(self, *arguments, **named):
        if self.state.global_step == 2:
            raise KeyboardInterrupt
        return step(self, *arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(DistillationTrainer, "training_step", interrupted)
        code, _, err = distill(*save, "--output_dir", "twice")
    assert code == 130
    assert "twice/checkpoint-2 is kept; run the same command with `--resume_from_checkpoint true`" in err
    code, _, err = distill(*save, "--output_dir", "twice", "--resume_from_checkpoint", "true")
    assert code == 0, err
    models = [AutoModelForImageClassification.from_pretrained(name) for name in ("once", "twice")]
    pairs = zip(*(model.state_dict().values() for model in models), strict=True)
    assert all(bool((one == other).all()) for one, other in pairs)
    whole, resumed = (DistillationRecord.load(f"{name}/distillation.json") for name in ("once", "twice"))
    assert resumed.training["resumed_at_step"] == 2 and "seconds_since" in resumed.training
    assert "seconds" in whole.training and "seconds" not in resumed.training
    assert resumed.command == whole.command.replace("once", "twice")


def test_a_run_that_starts_anew_is_never_continued_from_an_earlier_one(distill, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    save = ["--save_strategy", "steps", "--save_steps", 1]
    assert distill(*save, "--max_steps", 3)[0] == 0
    code, _, err = distill(*save, "--max_steps", 2)
    assert code == 0, err
    assert "set aside as checkpoint-1.old, checkpoint-2.old, checkpoint-3.old" in caplog.text
    assert sorted(path.name for path in Path("student").glob("checkpoint-?")) == ["checkpoint-1", "checkpoint-2"]


def test_the_baseline_takes_as_many_steps_as_the_student_did(distill):
    save = ["--save_strategy", "steps", "--save_steps", 1]
    assert distill(*save, "--max_steps", 3)[0] == 0
    code, _, err = distill(*save, "--max_steps", 2, "--resume_from_checkpoint", "true", "--baseline")
    assert code == 0, err
    records = [DistillationRecord.load(f"student{part}/distillation.json") for part in ("", "/without_distillation")]
    assert [record.training["steps"] for record in records] == [3, 3]


def test_interruption_before_the_first_checkpoint(distill, monkeypatch, tmp_path):
    def interrupted(self, *arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(DistillationTrainer, "training_step", interrupted)
    code, _, err = distill()
    assert code == 130
    assert f"Outputs of teachers are kept in {tmp_path / 'cache'}, but there is no checkpoint yet" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--loss", "transprot"], "`--loss` 'transprot' is unknown: choose one of"),
        (["--loss_settings", "{"], "`--loss_settings` is not valid JSON"),
        (["--ranking", "none.json"], "Cannot read none.json"),
        (["--student", "./nowhere"], "`--student` './nowhere' must be an image model"),
        (["--teachers", "./nowhere"], "nowhere"),
        (["--output_dir", "/proc/nothing"], "`--output_dir`: /proc/nothing cannot be written"),
        (["--resume_from_checkpoint", "true"], "finds no complete checkpoint in student. Leave it out"),
        (["--resume_from_checkpoint", "nowhere"], "`--resume_from_checkpoint` nowhere is no folder"),
        (["--load_best_model_at_end", "--eval_strategy", "steps"], "load_best_model_at_end requires"),
        (["--distillation_weight", "-1"], "`--distillation_weight` must be 0 or more, got -1.0"),
        (["--eval_split", "dev"], 'Unknown split "dev"'),
        (["--label_column", "kind"], "`--label_column` 'kind' is not a column"),
        (["--metrics", "no_such_metric"], "`--metrics` names 'no_such_metric'"),
    ],
)
def test_bad_input_is_one_line(distill, hub, words, said):
    code, _, err = distill(*words)
    assert code == 1
    last = err.strip().splitlines()[-1]
    assert last.startswith("hf-ctkd distill: error: ") and said in last
    assert "Traceback" not in err
    assert not Path("student").exists()


def test_a_loss_needs_a_teacher(distill):
    code, _, err = distill(teachers=False)
    assert code == 1
    assert (
        "`--teachers` must name at least one for the loss RowTransportLoss, got none. Take the first of a `--ranking`"
        in err
    )


@pytest.mark.parametrize(
    ("words", "flag"),
    [(["--teachers", "org/x"], "teachers"), (["--ranking", "x.json"], "ranking"), (["--baseline"], "baseline"),
     (["--top", 2], "top"), (["--committee"], "committee"), (["--loss_settings", "{}"], "loss_settings")],
)  # fmt: skip
def test_labels_alone_go_with_no_teacher(distill, words, flag):
    code, out, err = distill("--loss", "none", *words, teachers=False)
    assert (code, out) == (1, "")
    assert f"`--loss none` trains on the labels alone and does not read `--{flag}`. Leave one of them out." in err


def test_a_baseline_needs_rows_to_compare_on(distill, tmp_path):
    folder = write_splits(tmp_path / "rows", train=image_rows(6))
    code, _, err = distill("--baseline", dataset=folder)
    assert code == 1
    assert "`--baseline` needs rows to compare on" in err


def test_a_teacher_of_a_ranking_that_is_gone(select, distill, tmp_path):
    save_resnet(tmp_path / "zoo" / "mine", 4)
    assert select(zoo=tmp_path / "zoo")[0] == 0
    (tmp_path / "zoo").rename(tmp_path / "moved")
    code, _, err = distill("--ranking", "ranking.json", teachers=False)
    assert code == 1
    assert "Teacher 'mine': its folder is gone" in err.strip().splitlines()[-1]


def test_a_ranking_without_a_teacher_says_why(distill, select, tmp_path):
    assert select()[0] == 0
    values = json.loads(Path("ranking.json").read_text())
    for teacher in values["teachers"]:
        teacher["skipped"] = "its weights are not finite"
    values["tied"] = None  # of skipped teachers nothing is compared
    Path("ranking.json").write_text(json.dumps(values))
    code, _, err = distill("--ranking", "ranking.json", teachers=False)
    assert code == 1
    assert "No teacher could be used out of 2." in err and "four: its weights are not finite" in err


def test_a_student_is_not_lost_where_a_card_is_of_somebody_else(distill):
    assert distill()[0] == 0
    card = Path("student/README.md")
    card.write_text("mine")
    code, out, err = distill()
    assert code == 1
    assert card.read_text() == "mine"
    assert "README.md was not written by hf_ctkd" in err
    assert "saved in student" in out and Path("student/model.safetensors").is_file()
    code, out, err = distill("--overwrite")
    assert code == 0, err
    assert card.read_text() != "mine"


@pytest.mark.parametrize("command", ["a teacher", "another command", "data", "an earlier student that is an input"])
def test_a_folder_of_others_is_left_alone(distill, shelf, tmp_path, command):
    folder, student = tmp_path / "out", shelf / "student"
    if command == "data":
        folder = write_splits(folder, train=image_rows(6))
    else:
        shutil.copytree(shelf / "zoo" / "four", folder)
    if command == "another command":
        (folder / MARKER).write_text('{"kind": "command-output", "command": "demo"}')
    if command == "an earlier student that is an input":
        (folder / MARKER).write_text('{"kind": "command-output", "command": "distill"}')
        student = folder
    before = {path: path.read_bytes() for path in Path(folder).iterdir()}
    code, _, err = distill("--output_dir", folder, student=student)
    assert code == 1 and f"`--output_dir` {folder} " in err and "`--overwrite`" in err
    assert {path: path.read_bytes() for path in Path(folder).iterdir()} == before
    code, _, err = distill("--output_dir", folder, "--overwrite", student=student)
    assert code == 0, err


def test_flags_that_are_needed(capsys):
    assert main(["distill", "--dataset", "x"]) == 2
    assert "required: --student" in capsys.readouterr().err


def test_nothing_that_is_published_says_where_things_lie_on_this_machine(select, distill, shelf, tmp_path):
    zoo = tmp_path / "zoo"
    shutil.copytree(shelf / "zoo" / "four", zoo / "four")
    shutil.copytree(shelf / "zoo" / "four", zoo / "bare")
    (zoo / "bare" / "preprocessor_config.json").unlink()
    assert select(zoo=zoo)[0] == 0
    code, _, err = distill("--ranking", "ranking.json", "--output_dir", tmp_path / "out", teachers=False)
    assert code == 0, err
    for name in publishable_files("out"):
        text = (Path("out") / name).read_bytes()
        assert str(tmp_path).encode() not in text and str(shelf).encode() not in text, name
    ranking, record = TeacherRanking.load("out/ranking.json"), DistillationRecord.load("out/distillation.json")
    assert ranking.teachers[-1].skipped == "cannot be loaded: no image processor (preprocessor_config.json) in bare"
    assert ranking.dataset["name"] == "squares (train)"
    assert (record.task.dataset, record.student.base_model) == ("squares", "student")
    assert "--student student" in record.command and "--output_dir out" in record.command


def test_the_next_command_is_one_that_works(distill, run, hub, logged_in):
    code, out, err = distill("--output_dir", "stüdent eins")
    assert code == 0, err
    [said] = [line.removeprefix("Next:  hf-ctkd ") for line in out.splitlines() if line.startswith("Next: ")]
    code, _, err = run(*shlex.split(said.replace("YOUR_NAME", "me")))
    assert code == 0, err
    assert "me/st-dent-eins" in hub.repos
